from contract_notes import note
from django.db import migrations, models


def fill(apps, _):
    note("migration")
    apps.get_model("shop", "Item").objects.create(name="first")


class Migration(migrations.Migration):
    operations = [
        migrations.CreateModel("Item", [("id", models.AutoField(primary_key=True)), ("name", models.CharField(max_length=20))]),
        migrations.RunPython(fill),
    ]
