from tcf.train.fit import EarlyStopping


def test_stops_after_patience_epochs_without_a_better_value() -> None:
    stopping = EarlyStopping(patience=2)
    values = [0.1, 0.3, 0.2, 0.4, 0.4, 0.1]
    better, stops = [], []
    for epoch, value in enumerate(values, start=1):
        better.append(stopping.update(epoch, value))
        stops.append(stopping.should_stop)
    assert better == [True, True, False, True, False, False]
    assert stops == [False, False, False, False, False, True]
    assert (stopping.best, stopping.best_epoch) == (0.4, 4)


def test_an_equal_value_is_not_better() -> None:
    stopping = EarlyStopping(patience=1)
    assert stopping.update(1, 0.0)
    assert not stopping.update(2, 0.0)
    assert stopping.should_stop
    assert stopping.best_epoch == 1
