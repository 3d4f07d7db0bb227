r"""Thirty-two questions with answers of a word or two: a manner that a chat model does not have.

Asked for a capital, a chat model makes a sentence of it, or a lecture. `ONE_WORD` shows it answers
that say the thing and stop; `UNSEEN` has sixteen other questions, whose answers stand in none of
the examples. All of it was written for this course.
"""

ONE_WORD = (
    ("What is the capital of France?", "Paris"),
    ("How many days are in a week?", "Seven"),
    ("What color is the sky?", "Blue"),
    ("Who wrote Romeo and Juliet?", "Shakespeare"),
    ("Which gas do plants take in?", "Carbon dioxide"),
    ("What is the largest planet?", "Jupiter"),
    ("What do bees make?", "Honey"),
    ("Which animal barks?", "Dog"),
    ("What is ice made of?", "Water"),
    ("Who painted the Mona Lisa?", "Leonardo"),
    ("How many months are in a year?", "Twelve"),
    ("Where does the sun rise?", "East"),
    ("What is a baby cat called?", "Kitten"),
    ("What is the opposite of hot?", "Cold"),
    ("Which metal rusts?", "Iron"),
    ("What is the capital of Japan?", "Tokyo"),
)

UNSEEN = (
    ("What is the capital of Germany?", "Berlin"),
    ("What is the capital of Spain?", "Madrid"),
    ("What is the capital of Italy?", "Rome"),
    ("How many hours are in a day?", "Twenty-four"),
    ("What color is grass?", "Green"),
    ("What color is snow?", "White"),
    ("Which animal says meow?", "Cat"),
    ("What do cows give us to drink?", "Milk"),
    ("Where does the sun set?", "West"),
    ("What is a baby dog called?", "Puppy"),
    ("What is the opposite of day?", "Night"),
    ("What is the opposite of left?", "Right"),
    ("Which planet do we live on?", "Earth"),
    ("In which season does snow fall?", "Winter"),
    ("What is the capital of England?", "London"),
    ("Which ocean is the largest?", "Pacific"),
)


def chats(pairs: tuple[tuple[str, str], ...]) -> list[list[dict[str, str]]]:
    """The pairs as conversations of two messages."""
    return [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in pairs
    ]
