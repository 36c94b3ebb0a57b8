raise ValueError("in the package")
