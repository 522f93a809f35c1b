"Files that are damaged or hostile, from files that are whole: by bytes, lines, fields, entries and rows. Everything is decided by the random generator that is given."
import copy, gzip, io, json, re, struct, tarfile, zipfile
import pyarrow as pa
import pyarrow.parquet as pq
import log_files

DEEP = '[' * 600 + ']' * 600 # JSON that Python still reads, and that few functions walk
ODD = [None, True, False, -1, 0, 1, 2.5, 1e308, float('nan'), float('inf'), float('-inf'), 10**30, 10**400, -2**63, 2**64, '', ' ', 'x', 'A', '-1', '[0, 9]', [], [[]], {}, [None], [1, 'a'], {'a': 1}, 'é' * 50, '\ud800', '\0', 'a\0b',
       '../../x', '/etc/passwd', '..', 'C:\\x', '</script><img src=x onerror=1>', '=1+1', 'a,b\n"c', '1e999', 'NaN', '٣', '\u202e', 'x' * 300_000, json.loads(DEEP)]
SMALL = [x for x in ODD if not (isinstance(x, str) and len(x) > 1000) and x != ODD[-1]]
TOKENS = ['NaN', '-Infinity', '1e999', '9' * 5000, '-0', '1E400', 'null', 'tru', '[' * 100_000, DEEP, '{"a":' * 100_000, '"\\ud800"', '"\\u0000"', '{}', '[]', '""', '01', '.5', '\x00', ',', ']', '}']


_WORD = re.compile(rb'"[^"\n]{0,60}"|-?[\d.]+(?:[eE][-+]?\d+)?|\w+')

def odd(rng): return copy.copy(rng.choice(ODD if rng.random() < .1 else SMALL))

def value(x, rng):
    "One value somewhere inside, changed, gone, doubled, renamed, or swapped with another."
    x, spots = copy.deepcopy(x), []
    def walk(node, left=40):
        for k in (list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []):
            spots.append((node, k))
            if left: walk(node[k], left - 1)
    walk(x)
    if not spots: return odd(rng)
    (node, k), (other, j), what = rng.choice(spots), rng.choice(spots), rng.random()
    if what < .2: del node[k]
    elif what < .3 and isinstance(node, list): node.insert(k, copy.deepcopy(node[k]))
    elif what < .4 and isinstance(node, dict): node[f'{k}_'] = node.pop(k)
    elif what < .5: node[k] = copy.deepcopy(other[j])
    elif what < .55: node[k] = [node[k]]
    elif what < .6 and isinstance(node[k], (int, float)): node[k] = str(node[k])
    else: node[k] = odd(rng)
    return x

def dumps(x):
    try: return json.dumps(x)
    except (ValueError, RecursionError): return '{}'

def octets(raw, rng):
    "Bytes cut off, changed, doubled, gone, added, or zeroed."
    i, j = sorted(rng.randrange(len(raw) + 1) for _ in range(2))
    return rng.choice([lambda: raw[:i], lambda: raw[:i] + bytes([rng.randrange(256)]) + raw[i + 1:], lambda: raw[:i] + bytes([raw[i] ^ 1 << rng.randrange(8)]) + raw[i + 1:] if i < len(raw) else raw[:-1],
                       lambda: raw[:i] + raw[j:], lambda: raw[:j] + raw[i:j][:1000] + raw[j:], lambda: raw[:i] + rng.randbytes(3) + raw[i:], lambda: raw[:i] + b'\0' * min(8, j - i) + raw[i + min(8, j - i):],
                       lambda: b'', lambda: raw + raw[:i], lambda: b'\xef\xbb\xbf' + raw, lambda: raw.replace(b'\n', b'\r\n'), lambda: raw.replace(b'\n', b'\r')])()

def lines(raw, rng):
    "Lines gone, doubled, swapped, joined, or empty."
    rows = raw.split(b'\n')
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
    what = rng.randrange(5)
    if what == 0: del rows[i]
    elif what == 1: rows.insert(j, rows[i])
    elif what == 2: rows[i], rows[j] = rows[j], rows[i]
    elif what == 3: rows[i:i + 2] = [b''.join(rows[i:i + 2])]
    else: rows.insert(i, rng.choice([b'', b'   ', b'{}', b'null', b'[]', b'"']))
    return b'\n'.join(rows)

def token(raw, rng):
    "One word or number of a text replaced by an odd one."
    if not (m := _WORD.search(raw, rng.randrange(len(raw) + 1))): return octets(raw, rng)
    i, j = m.span()
    return raw[:i] + rng.choice(TOKENS).encode('utf-8', 'surrogatepass') + raw[j:]

def cells(raw, rng):
    "A cell of a table changed, gone, added, or quoted wrongly; with a column or two exchanged."
    sep = max(b',\t;', key=lambda c: raw.split(b'\n')[0].count(bytes([c])))
    rows = [r.split(bytes([sep])) for r in raw.split(b'\n')]
    i = rng.randrange(len(rows))
    k, what = rng.randrange(len(rows[i])), rng.randrange(6)
    if what < 3: rows[i][k] = str(odd(rng)).encode('utf-8', 'replace')
    elif what == 3: del rows[i][k]
    elif what == 4: rows[i].insert(k, rng.choice([b'', b'"', b'1', b'"a', b'""']))
    else: rows[0][rng.randrange(len(rows[0]))] = rng.choice([b'', rows[0][0], b'label', b'conf', b'probs', b'x' * 200_000])
    return b'\n'.join(bytes([sep]).join(r) for r in rows)

def records(raw, rng):
    "A field of a JSON value, or of JSON lines."
    try: return dumps(value(json.loads(raw), rng)).encode()
    except (ValueError, RecursionError): pass
    rows = [json.loads(x) for x in raw.decode().splitlines() if x.strip()]
    x = value(rows, rng)
    return ''.join(dumps(r) + '\n' for r in (x if isinstance(x, list) else [x])).encode()

def zipped(raw, rng):
    "An entry of a zip archive changed, gone, renamed, encrypted by its word, or of a false size; packed in one of several ways."
    with zipfile.ZipFile(io.BytesIO(raw)) as z:
        try: entries = {n: z.read(n) for n in z.namelist()}
        except NotImplementedError: return octets(raw, rng)
    name, what = rng.choice(sorted(entries)), rng.random()
    if what < .5: entries[name] = text(entries[name], rng)
    elif what < .6: del entries[name]
    elif what < .7: entries[rng.choice(['../../x', '/x', 'samples/a_epoch_1.json', 'header.json', name + 'x', 'samples/../../x_epoch_1.json'])] = entries.pop(name)
    out = io.BytesIO()
    if what < .8 and rng.random() < .5: return log_files.zstd_bytes(entries)
    with zipfile.ZipFile(out, 'w', rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])) as z:
        for n, x in entries.items(): z.writestr(n, x)
    packed = bytearray(out.getvalue())
    if what >= .8: # a bit of the directory: flags, method, sizes, checksum, offset
        spots = [m.start() for m in re.finditer(b'PK\x01\x02', packed)]
        at = rng.choice(spots) + rng.choice([8, 10, 16, 20, 21, 24, 25, 26, 28, 42])
        packed[at] ^= rng.choice([1, 2, 8, 64, 128, 255])
    return bytes(packed)

def parquet(raw, rng):
    "The rows of a Parquet file, the kind or the name of a column, or what stands in its head."
    t, what = pq.read_table(pa.BufferReader(raw)), rng.random()
    meta = dict(t.schema.metadata or {})
    try:
        if what < .6:
            t = pa.Table.from_pylist([r for r in value(t.to_pylist(), rng) if isinstance(r, dict)])
        elif what < .75:
            i = rng.randrange(t.num_columns)
            t = t.set_column(i, t.column_names[i], t[i].cast(rng.choice([pa.string(), pa.float32(), pa.int8(), pa.bool_(), pa.binary()])) if rng.random() < .5 else pa.nulls(len(t)))
        elif what < .9:
            names = list(t.column_names)
            names[rng.randrange(len(names))] = rng.choice([*names, '', 'x', 'conf', 'label', 'a.b', '../x', 'score:', '\0'])
            t = t.rename_columns(names)
        else:
            k = rng.choice([*meta, b'plcal', b'pandas', b'ARROW:schema'])
            meta[k] = rng.choice([text(meta.get(k, b'{}'), rng), b'', b'\xff', b'null', b'[]', b'{"version": 1}', b'{"version": 1, "meta": []}'])
    except (pa.ArrowException, OverflowError, TypeError, ValueError, AttributeError): return octets(raw, rng) if rng.random() < .2 else raw[:rng.randrange(len(raw))]
    pq.write_table(t.replace_schema_metadata(meta), sink := io.BytesIO(), store_schema=rng.random() < .8)
    return sink.getvalue()

def tensors(raw, rng):
    "The head of a .safetensors file, its length, or its bytes."
    n = struct.unpack('<Q', raw[:8])[0]
    what = rng.random()
    if what < .7:
        try: head = json.loads(raw[8:8 + n])
        except ValueError: return octets(raw, rng)
        inner = [k for k, v in (head.get('__metadata__') or {}).items() if isinstance(v, str)] if isinstance(head, dict) and isinstance(head.get('__metadata__', {}), dict) else []
        if inner and rng.random() < .7: head['__metadata__'][k] = text(head['__metadata__'][k := rng.choice(inner)].encode(), rng).decode('utf-8', 'replace')
        else: head = value(head, rng)
        new = dumps(head).encode()
        return struct.pack('<Q', len(new)) + new + raw[8 + n:]
    return struct.pack('<Q', rng.choice([0, 1, n + 1, 2**40, 2**64 - 1])) + raw[8:] if what < .8 else octets(raw, rng)

def archive(raw, rng):
    "A member of a .tar.gz changed, renamed, doubled, of another kind; or the bytes of the tar, or of the gzip."
    what = rng.random()
    if what < .25: return octets(raw, rng)
    try: inner = gzip.decompress(raw)
    except (OSError, EOFError, ValueError): return octets(raw, rng)
    if what < .6: return gzip.compress(octets(inner, rng), 1)
    try: members = [(m, t.extractfile(m).read() if m.isreg() else b'') for t in [tarfile.open(fileobj=io.BytesIO(inner))] for m in t.getmembers()]
    except (tarfile.TarError, OSError, ValueError): return octets(raw, rng)
    if not members: return octets(raw, rng)
    i = rng.randrange(len(members))
    m, body = members[i]
    how = rng.randrange(6)
    if how == 0: m.name = rng.choice(['../../x.txt', '/etc/x.txt', 'a/main_results/../../../x.txt', 'main_results/é.txt', m.name + '.txt', 'x' * 300])
    elif how == 1: m.type, m.linkname = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]), '/etc/passwd'
    elif how == 2: members.append(members[i])
    elif how == 3: body = text(body, rng)
    elif how == 4: del members[i]
    else: m.pax_headers = {'size': rng.choice(['-1', 'x', '9' * 30, '1'])}
    out = io.BytesIO()
    try:
        with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as t:
            for m, body in members:
                m.size = len(body) if m.isreg() else 0
                t.addfile(m, io.BytesIO(body))
    except (tarfile.TarError, ValueError, OSError, UnicodeError): return octets(raw, rng)
    return gzip.compress(out.getvalue(), 1)

def text(raw, rng):
    "A text, of whatever kind."
    head, what = raw.lstrip()[:1], rng.random()
    if head in (b'{', b'[') and what < .6:
        try: return records(raw, rng)
        except (ValueError, RecursionError): pass
    if head not in (b'{', b'[') and what < .5: return cells(raw, rng)
    return rng.choice([octets, lines, token])(raw, rng)

def damaged(raw, rng):
    "Any file, changed where its kind can be changed, or by its bytes."
    try:
        if raw[:4] == b'PAR1' and rng.random() < .8: return parquet(raw, rng)
        if raw[:2] == b'PK' and rng.random() < .8: return zipped(raw, rng)
        if raw[:2] == b'\x1f\x8b': return archive(raw, rng)
        if len(raw) > 9 and raw[8:9] == b'{' and raw[7:8] == b'\0': return tensors(raw, rng)
        if raw[:4] == b'PAR1': return raw[:rng.randrange(len(raw))] if rng.random() < .5 else octets(raw, rng)
        return octets(raw, rng) if raw[:2] == b'PK' else text(raw, rng)
    except Exception: return octets(raw, rng) # it was broken before
