"""Where fixtures of the corpus write down that they ran."""
NOTES = []


def note(text):
    NOTES.append(text)
