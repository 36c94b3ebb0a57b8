//! Tables: what is found, what is started, what is never cut.

use super::*;
use crate::framework::Place;
use crate::framework::pytest::Pytest;

const UNITTEST: &str = "import unittest\n\n\nclass Cart(unittest.TestCase):\n    def test_total(self):\n        pass\n";
const FUNCTION: &str = "import unittest.mock\n\n\ndef test_total():\n    pass\n";
const MANAGE: &str = "from django.core.management import execute_from_command_line\n";

fn facts(files: &[(&str, &str)]) -> ProjectFacts {
    let texts = files.iter().map(|(file, text)| (file.to_string(), text.to_string())).collect();
    ProjectFacts { files: files.iter().map(|(file, _)| file.to_string()).collect(), texts, place: Place::Image }
}

/// The names of all that have evidence: configuration allows one.
fn found(files: &[(&str, &str)]) -> Vec<&'static str> {
    let facts = facts(files);
    let all: [&dyn Framework; 3] = [&Pytest, &Unittest, &Django];
    all.into_iter().filter(|framework| framework.evidence(&facts).is_some()).map(Framework::name).collect()
}

#[test]
fn what_speaks_of_pytest_is_pytests() {
    for more in [
        ("pytest.ini", ""),
        ("conftest.py", ""),
        ("tests/conftest.py", ""),
        ("pyproject.toml", "[tool.pytest.ini_options]\n"),
        ("requirements-dev.txt", "pytest==9.2\n"),
        ("setup.py", "extras_require={'test': ['pytest']}"),
        (".venv/bin/pytest", ""),
        ("tests/test_b.py", FUNCTION),
        ("tests/test_b.py", "import pytest\n"),
        ("tests/b_test.py", "from pytest import fixture\n"),
    ] {
        assert_eq!(found(&[("tests/test_a.py", UNITTEST), more]), ["pytest"], "{more:?}");
        assert_eq!(found(&[("manage.py", MANAGE), ("tests/test_a.py", UNITTEST), more]), ["pytest"], "{more:?}");
    }
}

#[test]
fn what_is_written_for_unittest_is_run_by_it() {
    let project = [("tests/__init__.py", ""), ("tests/test_a.py", UNITTEST), ("requirements.txt", "# no pytest\nrequests\n")];
    assert_eq!(found(&project), ["unittest"]);
    assert_eq!(found(&[("tests.py", "from unittest import TestCase\n")]), ["unittest"]);
    assert_eq!(found(&[("shop/tests/test_a.py", "from .base import ShopTestCase\n")]), ["unittest"]);
    assert_eq!(found(&[("tests/test_a.py", "x = 1\n")]), ["pytest"], "as it always was");
    assert_eq!(found(&[("a_test.py", UNITTEST)]), ["pytest"], "unittest does not find it");
    assert_eq!(found(&[("venv/lib/test_a.py", UNITTEST), ("app.py", "")]), [""; 0]);
}

#[test]
fn a_django_project_is_run_by_its_own_command() {
    assert_eq!(found(&[("manage.py", MANAGE), ("shop/tests.py", "from django.test import TestCase\n")]), ["django"]);
    assert_eq!(found(&[("manage.py", MANAGE), ("shop/tests/test_a.py", UNITTEST)]), ["django"]);
    assert_eq!(found(&[("manage.py", "from flask_script import Manager\n"), ("test_a.py", UNITTEST)]), ["unittest"]);
}

#[test]
fn commands_find_what_there_is() {
    let command = |files: &[(&str, &str)]| Unittest.command(&facts(files)).join(" ");
    assert_eq!(command(&[("tests/__init__.py", ""), ("tests/test_a.py", UNITTEST)]), "python3 -m unittest");
    assert_eq!(command(&[("test_a.py", UNITTEST)]), "python3 -m unittest");
    assert_eq!(command(&[("tests/test_a.py", UNITTEST)]), "python3 -m unittest discover -s tests");
    assert_eq!(
        command(&[("src/shop/__init__.py", ""), ("src/shop/test/__init__.py", ""), ("src/shop/test/test_a.py", UNITTEST)]),
        "python3 -m unittest discover -s src"
    );
    let here = Place::Here { programs: ["python3".to_owned()].into(), activated: false };
    let venv = ProjectFacts { place: here, ..facts(&[("manage.py", MANAGE), (".venv/bin/python", "")]) };
    assert_eq!(Django.command(&venv), [".venv/bin/python", "manage.py", "test"]);
    assert_eq!(Django.command(&facts(&[("manage.py", MANAGE)])), ["python3", "manage.py", "test"]);
}

#[test]
fn options_that_choose_tests_are_known() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for line in [
        "python3 -m unittest -k total",
        "python3 -m unittest tests.test_a.Cart",
        "python3 -m unittest tests/test_a.py::Cart::test_total",
        "python3 manage.py test --tag slow",
        "python3 manage.py test --exclude-tag=slow shop",
    ] {
        assert!(picks(&words(line)), "{line}");
    }
    for line in ["python3 -m unittest", "python3 -m unittest discover -s tests -p *_t.py -b", "python3 manage.py test shop.tests --keepdb"]
    {
        assert!(!picks(&words(line)), "{line}");
    }
}

#[test]
fn a_class_stays_in_one_piece() {
    assert_eq!(class("tests/test_a.py::Cart::test_total"), "tests/test_a.py::Cart");
    assert_eq!(class("tests/test_a.py::Cart::Inner::test_total(a::b)"), "tests/test_a.py::Cart");
    assert_eq!(class("tests/test_a.py::shop.cart.total"), "tests/test_a.py::shop.cart.total", "a doctest");
    assert_eq!(class("tests/test_a.py"), "tests/test_a.py", "a file that could not be loaded");
}
