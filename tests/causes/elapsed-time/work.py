import time

start = time.perf_counter()
total = sum(range(10_000))
print("total", total)
print(f"finished in {time.perf_counter() - start:.9f} seconds")
