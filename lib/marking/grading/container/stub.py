"""What `marking` is inside the container: the notebook's own cells run, and check nothing."""


class _Nothing:
    def points(self, *_):
        return 0.0


def check(*_, **__):
    return _Nothing()


def hint(*_, **__):
    return ""


def status(*_, **__):
    return ""
