"A server that speaks OpenAI's protocol with a real, small model behind it, and every fault on demand. It listens on this machine only."
import json, socket, threading, time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import torch

KEY = 'sk-secret-0123456789' # what the server wants when it wants a key


def byte_table():
    "GPT-2's map from the characters of a byte-level vocabulary to bytes."
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}

TABLE = byte_table()


class Speaker:
    "A causal model and its byte-level tokenizer, asked one text at a time."
    def __init__(self, model, tokenizer, bos=False):
        self.model, self.tokenizer, self.lock = model, tokenizer, threading.Lock()
        self.bos = [tokenizer.bos_token_id] if bos else []
        self.special = set(tokenizer.all_special_ids)

    def ids(self, text, special=True): return (self.bos if special else []) + self.tokenizer(text, add_special_tokens=False)['input_ids']

    def raw(self, i):
        "The bytes of a token."
        token = self.tokenizer.convert_ids_to_tokens(i)
        return token.encode() if i in self.special else bytes(TABLE[c] for c in token)

    def log_p(self, ids):
        "(t, V) log-probabilities of what follows each token."
        with self.lock, torch.no_grad(): return self.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)

    def continue_(self, ids, n):
        "Greedy: ids and (V,) log-probabilities of each token written."
        out = []
        for _ in range(n):
            p = self.log_p([*ids, *(i for i, _ in out)])[-1]
            out.append((int(p.argmax()), p))
            if out[-1][0] == self.tokenizer.eos_token_id: break
        return out

def chat_text(content): return f'user {content}\nassistant'


class Server(ThreadingHTTPServer):
    "`script(n, path, payload)` names the fault of request n (from 0), or None."
    daemon_threads = True
    def __init__(self, speaker, script=None, key=None, name='tiny', max_tokens='max_tokens', offsets='right', tokens='text', least_tokens=0, echo=True):
        super().__init__(('127.0.0.1', 0), Handler)
        self.speaker, self.script, self.key, self.name = speaker, script or (lambda n, path, payload: None), key, name
        self.max_tokens, self.offsets, self.tokens, self.least_tokens, self.echo = max_tokens, offsets, tokens, least_tokens, echo
        self.asked, self.now, self.most, self.lock = [], 0, 0, threading.Lock()

    @property
    def base(self): return f'http://127.0.0.1:{self.server_port}/v1'

    def handle_error(self, request, client_address): pass # a client that left

    def chat(self, q):
        "A chat completion."
        s = self.speaker
        out = s.continue_(s.ids(chat_text(q['messages'][0]['content'])), q[self.max_tokens])
        def told(i, p): return dict(token=s.raw(i).decode('utf-8', 'replace'), bytes=list(s.raw(i)), logprob=float(p[i]))
        content = [told(i, p) | dict(top_logprobs=[told(int(j), p) for j in p.topk(min(q['top_logprobs'], len(p))).indices]) for i, p in out]
        text = b''.join(s.raw(i) for i, _ in out if i not in s.special).decode('utf-8', 'replace')
        return dict(message=dict(role='assistant', content=text), logprobs=dict(content=content) if q.get('logprobs') else None)

    def complete(self, q):
        "A completion, with echo if asked."
        s, echo = self.speaker, self.echo and q.get('echo', False)
        ids = s.ids(q['prompt'], q.get('add_special_tokens', True))
        before = s.log_p(ids)
        out = s.continue_(ids, q['max_tokens'] if not self.least_tokens else 0)
        given = [(ids[0], None), *((i, before[t]) for t, i in enumerate(ids[1:]))] if echo else []
        every, start = given + out, (0 if echo else len(q['prompt']))
        raws = [s.raw(i) for i, _ in every]
        if raws and echo and not q['prompt'].startswith(' '): # the tokenizer puts a space before the text
            first = len(s.bos) if q.get('add_special_tokens', True) else 0
            raws[first] = raws[first].removeprefix(b' ')
        text = b''.join(r for r, (i, _) in zip(raws, every, strict=True) if i not in s.special).decode('utf-8', 'replace')
        names = [s.tokenizer.convert_ids_to_tokens(i) if self.tokens == 'raw' else f'token_id:{i}' if self.tokens == 'id' else r.decode('utf-8', 'replace') if self.tokens == 'text' or r.isascii() else
                 'bytes:' + ''.join(f'\\x{b:02x}' for b in r) for r, (i, _) in zip(raws, every, strict=True)]
        places = [start + len(b''.join(raws[:t]).decode('utf-8', 'ignore')) for t in range(len(raws))]
        if self.offsets == 'drift': places = [sum(len(n) for n in names[:t]) for t in range(len(names))] # by the garbled texts, as vLLM did
        top = [None if p is None else {s.raw(int(j)).decode('utf-8', 'replace'): float(p[j]) for j in reversed(p.topk(min(q['logprobs'], len(p))).indices)} for _, p in every]
        lp = dict(tokens=names, token_logprobs=[None if p is None else float(p[i]) for i, p in every], top_logprobs=top)
        if self.offsets != 'none': lp['text_offset'] = [-1] * len(places) if self.offsets == 'minus' else places
        return dict(text=text, logprobs=lp)


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass

    def say(self, status, body, **headers):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for k, v in dict(Content_Length=len(data), Content_Type='application/json', **headers).items(): self.send_header(k.replace('_', '-'), str(v))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == '/v1/models': self.say(200, dict(object='list', data=[dict(id=self.server.name, object='model')]))
        else: self.say(404, dict(error=dict(message='not found')))

    def do_POST(self):
        server = self.server
        q = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        with server.lock:
            n = len(server.asked)
            server.asked.append((self.path, q, dict(self.headers), time.monotonic()))
            server.now += 1; server.most = max(server.most, server.now)
        try: self.answer(n, q)
        finally:
            with server.lock: server.now -= 1

    def answer(self, n, q):
        server, fault = self.server, self.server.script(n, self.path, q)
        kind, more = fault if isinstance(fault, tuple) else (fault, None)
        if server.key and self.headers.get('Authorization') != f'Bearer {server.key}':
            return self.say(401, dict(error=dict(message=f"Incorrect API key provided: {self.headers.get('Authorization')}")))
        if kind == 'busy': return self.say(429, dict(error=dict(message='slow down')), **({} if more is None else dict(Retry_After=more)))
        if kind == 'status': return self.say(more, dict(error=dict(message=f'status {more}, as was asked')))
        if kind == 'moved': return self.say(307, '', Location='http://127.0.0.1:9/v1')
        if kind == 'drop': self.connection.shutdown(socket.SHUT_RDWR); self.close_connection = True; return
        if kind == 'text': return self.say(200, '<html>welcome</html>')
        if kind == 'slow': time.sleep(more)
        if kind == 'body': return self.say(200, more)
        path = self.path.partition('?')[0].removeprefix('/v1')
        if path not in ('/chat/completions', '/completions'): return self.say(404, dict(error=dict(message=f'no route {path}')))
        if q['model'] != server.name: return self.say(404, dict(error=dict(message=f"The model {q['model']} does not exist")))
        if path == '/chat/completions' and server.max_tokens not in q: return self.say(400, dict(error=dict(message=f"Unsupported parameter: 'max_tokens' is not supported with this model. Use '{server.max_tokens}' instead.")))
        choice = server.chat(q) if path == '/chat/completions' else server.complete(q)
        if kind == 'edit': choice = more(choice) or choice
        try: self.say(200, dict(id='x', model=f'{server.name}-1', system_fingerprint='fp_7', choices=[dict(index=0, finish_reason='stop', **choice)]))
        except (BrokenPipeError, ConnectionResetError): pass


@contextmanager
def serving(speaker, script=None, **how):
    "A server for as long as the block runs."
    server = Server(speaker, script, **how)
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.01))
    thread.start()
    try: yield server
    finally:
        server.shutdown(); server.server_close(); thread.join()
