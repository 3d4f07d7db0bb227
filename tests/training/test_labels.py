"""Which tokens of a conversation are learned."""

import pytest
import torch

from clearhead.training import IGNORED, sft_labels

S, USER, BOT, NEWLINE, E, PAD = 90, 91, 92, 93, 94, 95
HEADER = torch.tensor([S, BOT, NEWLINE])
X = IGNORED


def labels(*row, header=HEADER, end=E, pad=PAD):
    return sft_labels(torch.tensor([row]), header, end, pad)[0].tolist()


def asked(*content):
    return S, USER, NEWLINE, *content, E, NEWLINE


def answered(*content):
    return S, BOT, NEWLINE, *content, E, NEWLINE


def test_the_answer_and_its_end_are_learned_and_nothing_else():
    row = [*asked(1, 2), *answered(3, 4), PAD, PAD]
    assert labels(*row) == [X] * 7 + [X] * 3 + [3, 4, E] + [X] + [X, X]


def test_every_answer_is_learned():
    row = [*asked(1), *answered(2), *asked(3, 4), *answered(5, 6)]
    assert labels(*row) == [X] * 9 + [2, E] + [X] * 8 + [X] * 3 + [5, 6, E, X]


def test_two_answers_in_a_row_are_two_answers():
    assert labels(*answered(1), *answered(2)) == [X, X, X, 1, E, X, X, X, X, 2, E, X]


def test_an_empty_answer_is_its_end():
    assert labels(*asked(1), *answered()) == [X] * 9 + [E, X]


def test_a_row_that_starts_with_the_header_is_read_from_there():
    assert labels(S, BOT, NEWLINE, 5) == [X, X, X, 5]


def test_an_answer_that_was_cut_off_is_learned_up_to_the_padding():
    assert labels(S, BOT, NEWLINE, 1, 2, PAD, PAD) == [X, X, X, 1, 2, X, X]
    assert labels(S, BOT, NEWLINE, 1, 2) == [X, X, X, 1, 2]


def test_a_header_alone_teaches_nothing():
    assert labels(*asked(1), S, BOT, NEWLINE) == [X] * 9
    assert labels(*asked(1), S, BOT, NEWLINE, PAD) == [X] * 10
    assert labels(*asked(1), S, BOT) == [X] * 8


def test_part_of_a_header_opens_nothing():
    assert labels(S, BOT, 1, E, BOT, NEWLINE, 2, E) == [X] * 8


def test_padding_that_is_the_end_token_hides_no_end():
    row = [*asked(1), S, BOT, NEWLINE, 2, E, E, E]
    assert labels(*row, pad=E) == [X] * 9 + [2, E, X, X]


def test_padding_in_the_midst_of_an_answer_is_an_ordinary_token():
    assert labels(S, BOT, NEWLINE, 1, PAD, 2, E, PAD) == [X, X, X, 1, PAD, 2, E, X]


def test_a_header_inside_an_open_answer_is_part_of_it():
    assert labels(S, BOT, NEWLINE, 1, S, BOT, NEWLINE, E) == [X, X, X, 1, S, BOT, NEWLINE, E]


def test_the_header_may_be_one_token():
    assert labels(1, BOT, 2, E, 3, header=torch.tensor([BOT])) == [X, X, 2, E, X]


def test_rows_are_labelled_each_by_itself():
    first, second = [*answered(1, 2), PAD], [S, BOT, NEWLINE, 4, 5, 6, 7]
    both = sft_labels(torch.tensor([first[:7], second]), HEADER, E, PAD)
    assert both.tolist() == [labels(*first[:7]), labels(*second)]
    assert both.dtype == torch.int64


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_nothing_in_nothing_out(shape):
    assert sft_labels(torch.zeros(shape, dtype=torch.int64), HEADER, E, PAD).shape == shape
