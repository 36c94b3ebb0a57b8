from contract_notes import note
from django.test import SimpleTestCase, TestCase, TransactionTestCase, tag
from shop.models import Item


class ATransaction(TransactionTestCase):
    def test_creates(self):
        Item.objects.create(name="in a transaction")
        self.assertTrue(Item.objects.filter(name="in a transaction").exists())


@tag("quick")
class BSimple(SimpleTestCase):
    def test_needs_nothing(self):
        pass

    def test_asks_for_a_database(self):
        Item.objects.count()


class CData(TestCase):
    @classmethod
    def setUpTestData(cls):
        note("setUpTestData")
        cls.item = Item.objects.create(name="second")

    def test_both(self):
        self.assertEqual([item.name for item in Item.objects.order_by("id")], ["first", "second"])

    @tag("slow")
    def test_changes(self):
        self.item.name = "changed"
        self.item.save()

    def test_fails(self):
        self.assertEqual(Item.objects.count(), 3)

    def test_unwanted(self):
        pass


class DKeeps(TransactionTestCase):
    """What another left behind is in the way of its data: a test that cannot be begun."""

    serialized_rollback = True

    def test_first(self):
        note("never")
