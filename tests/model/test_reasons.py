from asrscale.model.reasons import short_reason


def test_a_reason_is_the_beginning_of_the_message_on_one_line() -> None:
    assert short_reason(ValueError("a\n  long\tmessage")) == "a long message"
    assert short_reason(ValueError("x" * 1_000)) == "x" * 200
    assert short_reason(ValueError("a long message"), 6) == "a long"
