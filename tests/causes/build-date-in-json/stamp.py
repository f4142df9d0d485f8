import json
import time

print(json.dumps({"name": "demo", "build": {"time": int(time.time())}}))
