"""What the site needs beyond the theme: no script that could call out, and honest rebuilds."""


def setup(app):
    """Take sphinx-thebe out: every page declares its address twice, which is an error on load."""
    for listeners in app.events.listeners.values():
        listeners[:] = [
            listener
            for listener in listeners
            if not listener.handler.__module__.startswith("sphinx_thebe")
        ]
    styles = app.registry.css_files
    styles[:] = [style for style in styles if style[0] != "sphinx-thebe.css"]
    app.add_config_value("tooling_fingerprint", "", "env")  # tools that change re-read every page
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
