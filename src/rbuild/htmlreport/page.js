const tools = document.getElementById("tools");
tools.hidden = false;
tools.addEventListener("click", (event) => {
  const { unfold } = event.target.dataset;
  if (unfold === undefined) return;
  for (const details of document.querySelectorAll("details")) details.open = unfold === "all";
});
