"""Nested dictionaries as TOML text, and one configuration merged over another."""


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{text}"'


def _key(key):
    return key if key.replace("_", "a").replace("-", "a").isalnum() and key.isascii() else _value(key)


def _is_tables(value):
    return isinstance(value, list) and value and all(isinstance(item, dict) for item in value)


def _body(table, path, lines):
    for key, value in table.items():
        if not isinstance(value, dict) and not (_is_tables(value) and len(path) == 0):
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in table.items():
        name = ".".join(map(_key, path + [key]))
        if isinstance(value, dict):
            lines += ["", f"[{name}]"]
            _body(value, path + [key], lines)
        elif _is_tables(value) and len(path) == 0:
            for item in value:
                lines += ["", f"[[{name}]]"]
                for inner, content in item.items():
                    lines.append(f"{_key(inner)} = {_value(content)}")


def write(table):
    """TOML text of `table`: dictionaries are tables, top-level lists of dictionaries arrays of tables."""
    lines = []
    _body(table, [], lines)
    return "\n".join(lines).lstrip("\n") + "\n"


def merge(under, over):
    """`over` wins; tables merge key by key; an array of tables with names merges by name, else it is replaced."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            result[key] = merge(below, value)
        elif _is_tables(value) and _is_tables(below) and all("name" in item for item in value + below):
            named = {item["name"]: item for item in below}
            for item in value:
                named[item["name"]] = merge(named.get(item["name"], {}), item)
            result[key] = list(named.values())
        else:
            result[key] = value
    return result
