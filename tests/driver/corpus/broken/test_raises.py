print("before")
raise RuntimeError("while loading")
