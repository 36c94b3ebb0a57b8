from contract_notes import note
from django.core import checks
from django.db import models


class Item(models.Model):
    name = models.CharField(max_length=20)


@checks.register
def check(**_):
    note("system check")
    return []
