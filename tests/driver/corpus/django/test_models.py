import pytest
from django.contrib.auth.models import Group
from django.test import SimpleTestCase, TestCase, TransactionTestCase


@pytest.mark.django_db
def test_database():
    Group.objects.create(name="a")
    assert Group.objects.count() == 1


@pytest.mark.django_db
def test_rolled_back():
    assert Group.objects.count() == 0


def test_no_database():
    Group.objects.count()


def test_fixture(db, settings, client, django_assert_num_queries):
    settings.DEBUG = True
    with django_assert_num_queries(1):
        list(Group.objects.all())


class Transactional(TransactionTestCase):
    def test_transaction(self):
        Group.objects.create(name="b")


class Case(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.group = Group.objects.create(name="c")

    def test_data(self):
        self.assertEqual(Group.objects.count(), 1)

    def test_fails(self):
        self.assertEqual(Group.objects.count(), 2)


class Simple(SimpleTestCase):
    def test_simple(self):
        pass
