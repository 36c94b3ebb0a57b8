import pytest


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".case":
        return CaseFile.from_parent(parent, path=file_path)
    if file_path.suffix == ".lint":
        return LintItem.from_parent(parent, path=file_path, name="LINT", nodeid=parent.session._node_location_to_relpath(file_path) + "::LINT")


class CaseFile(pytest.File):
    def collect(self):
        for number, line in enumerate(self.path.read_text().splitlines()):
            if line == "broken":
                raise self.CollectError("a broken case in line %d" % (number + 1))
            yield CaseItem.from_parent(self, name=line)


class CaseItem(pytest.Item):
    def runtest(self):
        if self.name.startswith("bad"):
            raise ValueError("bad case")

    def repr_failure(self, excinfo):
        return "%s: %s" % (self.name, excinfo.value)

    def reportinfo(self):
        return self.path, 0, self.name


class LintItem(pytest.Item):
    def runtest(self):
        assert "tab" not in self.path.read_text()

    def reportinfo(self):
        return self.path, 0, "LINT"
