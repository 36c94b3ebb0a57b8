from contract_notes import note
from django.contrib.auth.models import Permission
from django.test import TestCase
from shop.models import Item

note("import test_b")


class Later(TestCase):
    def test_what_migrations_made(self):
        self.assertEqual([item.name for item in Item.objects.all()], ["first"])
        self.assertTrue(Permission.objects.filter(codename="add_item").exists())

    async def test_asynchronous(self):
        self.assertEqual(await Item.objects.acount(), 1)

    def test_parts(self):
        for n in range(2):
            with self.subTest(n=n):
                self.assertEqual(n, 0)


class Other(TestCase):
    databases = {"default"}

    def test_response(self):
        self.assertEqual(self.client.get("/nowhere").status_code if False else 404, 404)
