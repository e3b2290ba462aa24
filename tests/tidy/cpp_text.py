"""C++ source with everything that is not code blanked out, line by line."""

import re

_LITERAL = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])+\'')


def code_lines(numbered_lines):
    """(number, code) with comments and the contents of literals removed.

    Good enough to look up names: raw strings over several lines are taken for
    code.
    """
    result = []
    in_comment = False
    for number, line in numbered_lines:
        if in_comment:
            end = line.find("*/")
            if end < 0:
                result.append((number, ""))
                continue
            line = line[end + 2 :]
            in_comment = False
        line = _LITERAL.sub('""', line)
        line = re.sub(r"/\*.*?\*/", " ", line)
        line = line.split("//")[0]
        if "/*" in line:
            line = line.split("/*")[0]
            in_comment = True
        result.append((number, line))
    return result
