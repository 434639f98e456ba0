"""Kernels for the PVH boot protocol whose first instruction shows, and which then end."""

MARK = 0xF4  # a port that no machine has


def first_code(address):
    """Writes to the port, and then ends the machine by a fault without a handler."""
    code = bytes([0xE6, MARK])  # out MARK, al
    code += b"\x0f\x01\x1d" + (address + 17).to_bytes(4, "little")  # lidt [nothing]
    code += b"\x30\xc0\xf6\xf0"  # xor al, al; div al
    code += b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the `hlt`
    return code + bytes(6)


def smallest():
    """A file of one loaded segment and the note that says where it begins."""
    address, header = 0x100000, 64 + 2 * 56
    note = number(4, 4) + number(4, 4) + number(18, 4) + b"Xen\0"
    code_at = header + len(note) + 4
    note += number(address + code_at, 4)
    size = code_at + len(first_code(0))
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + number(2, 2) + number(62, 2) + number(1, 4)
    elf += number(address + code_at, 8) + number(64, 8) + number(0, 8) + number(0, 4)
    elf += number(64, 2) + number(56, 2) + number(2, 2) + bytes(6)
    elf += number(1, 4) + number(5, 4) + number(0, 8) + 2 * number(address, 8) + 2 * number(size, 8) + number(4096, 8)
    elf += number(4, 4) + number(4, 4) + number(header, 8) + 2 * number(address + header, 8)
    elf += 2 * number(len(note), 8) + number(4, 8)
    return elf + note + first_code(address + code_at)


def ending_at_once(elf):
    """The same kernel, but that its first instruction marks the moment."""
    table, count = value(elf, 32, 8), value(elf, 56, 2)
    segments = [table + 56 * index for index in range(count)]
    entry = None
    for segment in segments:
        if value(elf, segment, 4) == 4:
            notes = elf[value(elf, segment + 8, 8):][: value(elf, segment + 32, 8)]
            at = notes.index(number(18, 4) + b"Xen\0")
            entry = value(notes, at + 8, 4)
    for segment in segments:
        start, length = value(elf, segment + 24, 8), value(elf, segment + 32, 8)
        if value(elf, segment, 4) == 1 and start <= entry < start + length:
            at = value(elf, segment + 8, 8) + entry - start
            code = first_code(entry)
            return elf[:at] + code + elf[at + len(code):]
    raise ValueError("the kernel has no PVH entry")


def number(value, length):
    return value.to_bytes(length, "little")


def value(data, at, length):
    return int.from_bytes(data[at:at + length], "little")
