"""A small DER reader: enough to look at every octet of a certificate."""


class DerError(ValueError):
    pass


class Element:
    """One value: `tag` is the whole identifier octet, `raw` includes tag and length."""

    def __init__(self, raw, tag, content):
        self.raw = raw
        self.tag = tag
        self.content = content

    @property
    def children(self):
        return list(elements(self.content))

    def oid(self):
        if self.tag != 0x06 or not self.content:
            raise DerError("an object identifier was expected")
        numbers, value = [], 0
        for octet in self.content:
            value = value << 7 | octet & 0x7F
            if not octet & 0x80:
                numbers.append(value)
                value = 0
        first = min(numbers[0] // 40, 2)
        return ".".join(map(str, [first, numbers[0] - 40 * first] + numbers[1:]))

    def integer(self):
        if self.tag != 0x02 or not self.content:
            raise DerError("an integer was expected")
        if len(self.content) > 1 and (self.content[0], self.content[1] >> 7) in ((0, 0), (0xFF, 1)):
            raise DerError("an integer is longer than it has to be")
        return int.from_bytes(self.content, "big", signed=True)

    def bits(self):
        """The numbers of the bits that are set in a BIT STRING."""
        if self.tag != 0x03 or not self.content:
            raise DerError("a bit string was expected")
        octets = self.content[1:]
        return {i for i in range(len(octets) * 8 - self.content[0]) if octets[i // 8] >> (7 - i % 8) & 1}


def read(data):
    """The one element that fills all of data."""
    found = list(elements(data))
    if len(found) != 1:
        raise DerError("something stands before or after the value")
    return found[0]


def elements(data):
    position = 0
    while position < len(data):
        start = position
        tag = data[position]
        if tag & 0x1F == 0x1F or len(data) < position + 2:
            raise DerError("an unusual tag or a value that is cut off")
        length = data[position + 1]
        position += 2
        if length >= 0x80:
            count = length & 0x7F
            octets = data[position:position + count]
            length = int.from_bytes(octets, "big")
            if not 1 <= count <= 4 or len(octets) < count or octets[0] == 0 or length < 0x80:
                raise DerError("a length that is not DER")
            position += count
        if position + length > len(data):
            raise DerError("a value that is cut off")
        yield Element(data[start:position + length], tag, data[position:position + length])
        position += length
