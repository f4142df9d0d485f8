require("express");
require("chalk");
console.log(require("semver").valid("v1.2.3"));
