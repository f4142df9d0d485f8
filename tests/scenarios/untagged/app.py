import requests

print(requests.Request("GET", "https://example.org", params={"a": 1}).prepare().url)
