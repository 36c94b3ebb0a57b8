import pytest
from django.contrib.auth.models import Group


@pytest.mark.django_db(transaction=True)
def test_transaction():
    Group.objects.create(name="z")


def test_clean(db):
    assert Group.objects.count() == 0
