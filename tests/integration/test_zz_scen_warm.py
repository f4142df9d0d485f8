def test_warm(layouts):
    layouts["python"]; layouts["tiny"]; layouts["node"]
