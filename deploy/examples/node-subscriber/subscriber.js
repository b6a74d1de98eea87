'use strict';
// Follows the versions of a model that freshet publishes, and prints a line of JSON for each that it adopts. It is written
// from the specification in publisher/doc.go alone, and needs no rights but those of a replica (deploy/nats-secure.conf).
// README.md says how to run it.

const {createHash} = require('node:crypto');
const {readFileSync} = require('node:fs');
const {connect, nkeys, nkeyAuthenticator} = require('nats');
const {tableFromIPC} = require('apache-arrow');

const env = process.env;
const model = env.FRESHET_PUBLISH_MODEL || 'default';
const trusted = (env.FRESHET_SERVE_TRUSTED_KEYS || '').split(',').filter(Boolean);
const maxChain = 1024; // deltas after a base
const maxObjectBytes = 2 ** 31;
const pollMillis = 15_000; // news can be lost

class Refusal extends Error {}

function must(condition, why) {
  if (!condition) throw new Refusal(why);
}

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');

// parse returns a manifest from its stored bytes, after it has looked at all that needs no other version.
function parse(stored) {
  const text = Buffer.from(stored).toString('utf8');
  const m = JSON.parse(text);
  must(m.format === 1 || m.format === 2, `format ${m.format} is not known`);
  must(m.model === model, `it is of model ${m.model}`);
  must(m.kind === 'base' || m.kind === 'delta' && m.parent < m.version, 'it is neither a base nor a delta');
  must(m.signature && m.signer, `version ${m.version} is not signed`);
  must(trusted.includes(m.signer), `version ${m.version} is signed by ${m.signer}, which is not trusted`);
  const at = text.lastIndexOf(',"signature":"'); // the last member; what is signed is all but that
  must(at > 0 && text.slice(at) === `,"signature":${JSON.stringify(m.signature)}}`, 'the signature is not the last member');
  const signed = Buffer.from(text.slice(0, at) + '}', 'utf8');
  must(nkeys.fromPublic(m.signer).verify(signed, Buffer.from(m.signature, 'base64')), `version ${m.version} was changed after it was signed`);
  return {...m, stored: text, epoch: m.epoch || 0};
}

class Store {
  constructor(jsm) {
    this.direct = jsm.direct;
  }

  // last returns the value of a key, or undefined.
  async last(stream, subject) {
    try {
      const message = await this.direct.getMessage(stream, {last_by_subj: subject});
      return message.header?.get('KV-Operation') ? undefined : message.data; // a marker of a deletion is no value
    } catch (err) {
      if (err.code === '404') return undefined;
      throw err;
    }
  }

  head() {
    return this.last('KV_freshet_heads', `$KV.freshet_heads.${model}`);
  }

  async manifest(version) {
    const stored = await this.last('KV_freshet_manifests', `$KV.freshet_manifests.${model}.${version}`);
    must(stored, `the manifest of version ${version} is missing`);
    return parse(stored);
  }

  // object returns the bytes of an object of a manifest: an entry under M, and chunks under C (ADR-20).
  async object(o) {
    must(o.bytes <= maxObjectBytes, `${o.name} has ${o.bytes} bytes`);
    const entry = await this.last('OBJ_freshet_models', `$O.freshet_models.M.${Buffer.from(o.name).toString('base64').replaceAll('+', '-').replaceAll('/', '_')}`);
    must(entry, `${o.name} is missing`);
    const {nuid, size, deleted} = JSON.parse(Buffer.from(entry).toString('utf8'));
    must(!deleted && size === o.bytes, `${o.name} has ${size} bytes, the manifest says ${o.bytes}`);
    const bytes = Buffer.alloc(o.bytes);
    for (let read = 0, seq = 1; read < size;) {
      const chunk = await this.direct.getMessage('OBJ_freshet_models', {seq, next_by_subj: `$O.freshet_models.C.${nuid}`});
      must(chunk.data.length <= size - read, `${o.name} has more than ${size} bytes`);
      bytes.set(chunk.data, read);
      read += chunk.data.length;
      seq = chunk.seq + 1;
    }
    must(sha256(bytes) === o.sha256, `${o.name} has another SHA-256 than its manifest says`);
    return bytes;
  }

  // chain returns the manifests to apply for m, oldest first: behind the version held, or from a base on.
  async chain(m, held) {
    const chain = [m];
    for (let first = m; first.kind === 'delta';) {
      must(chain.length <= maxChain, `version ${m.version} has no base`);
      const parent = await this.manifest(first.parent);
      must(parent.version === first.parent && parent.base === m.base, `version ${first.version} does not follow ${parent.version}`);
      must(parent.config_digest === m.config_digest, `version ${first.version} has another shape than ${parent.version}`);
      if (held && parent.stored === held.manifest.stored) return {chain, onto: held.items};
      chain.unshift(parent);
      first = parent;
    }
    return {chain, onto: new Map()};
  }
}

// vectors returns a function from a line to its vector, from either way in which they travel.
function vectors(table) {
  const full = table.getChild('vector');
  if (full) return (line) => Float32Array.from(full.get(line));
  const codes = table.getChild('vector_int8');
  const scale = table.getChild('scale');
  must(codes && scale, 'items have no vectors');
  return (line) => Float32Array.from(codes.get(line), (code) => scale.get(line) * code); // stored as float32, so rounded once
}

// apply returns items with the lines of a table on top: row → {id, vector}.
function apply(items, bytes) {
  const table = tableFromIPC(bytes);
  const [ids, rows, vector] = [table.getChild('item_id'), table.getChild('row'), vectors(table)];
  const next = new Map(items);
  for (let line = 0; line < table.numRows; line++) {
    next.set(rows.get(line), {id: ids.get(line), vector: vector(line)});
  }
  return next;
}

// digest is the SHA-256 over the rows as they rise: row, length of the id, both uint32; the id in UTF-8; the vector's float32.
// Numbers are little-endian.
function digest(items) {
  const parts = [];
  for (const row of [...items.keys()].sort((a, b) => a - b)) {
    const {id, vector} = items.get(row);
    const name = Buffer.from(id, 'utf8');
    const numbers = Buffer.alloc(4 * vector.length);
    vector.forEach((x, i) => numbers.writeFloatLE(x, 4 * i));
    const begin = Buffer.alloc(8);
    begin.writeUInt32LE(row, 0);
    begin.writeUInt32LE(name.length, 4);
    parts.push(begin, name, numbers);
  }
  return sha256(...parts);
}

// adopt returns what is held after the head was looked at: the same where there is nothing newer.
async function adopt(store, held) {
  const stored = await store.head();
  if (!stored) return held; // nothing was published yet
  const head = parse(stored);
  if (held && head.stored === held.manifest.stored) return held;
  must(!held || head.version > held.manifest.version, `head version ${head.version} is not above ${held?.manifest.version}, which is held`);
  must(!held || head.epoch >= held.manifest.epoch, `head version ${head.version} is of a writer who has lost the line`);
  const {chain, onto} = await store.chain(head, held);
  let items = onto;
  for (const m of chain) {
    const table = m.objects.find((o) => (o.table || o.name.split('/').pop()) === (o.table ? 'items' : 'items.arrow'));
    must(table || m.kind === 'delta', `base ${m.version} has no items`);
    if (table) items = apply(m.kind === 'base' ? new Map() : items, await store.object(table)); // else live tables alone
    must(items.size === m.items, `version ${m.version} has ${items.size} items, its manifest says ${m.items}`);
  }
  const sample = items.get(0);
  console.log(JSON.stringify({version: head.version, items: items.size, digest: digest(items), item: sample?.id, vector: sample && [...sample.vector]}));
  return {manifest: head, items};
}

async function main() {
  if (trusted.length === 0) throw new Error('whose versions? set FRESHET_SERVE_TRUSTED_KEYS to the public keys that the trainer prints, with commas between');
  const options = {servers: env.FRESHET_NATS_URL || 'nats://127.0.0.1:4222', name: 'node-subscriber', maxReconnectAttempts: -1};
  if (env.FRESHET_NATS_USER) Object.assign(options, {user: env.FRESHET_NATS_USER, pass: env.FRESHET_NATS_PASSWORD});
  if (env.FRESHET_NATS_NKEY_SEED_FILE) options.authenticator = nkeyAuthenticator(Buffer.from(readFileSync(env.FRESHET_NATS_NKEY_SEED_FILE, 'utf8').trim()));
  if (env.FRESHET_NATS_TLS_CA_FILE) options.tls = {caFile: env.FRESHET_NATS_TLS_CA_FILE};
  const nc = await connect(options);
  const jsm = await nc.jetstreamManager({checkAPI: false, apiPrefix: env.FRESHET_NATS_API_PREFIX || '$JS.API'});
  const store = new Store(jsm);
  let held;
  let wake = () => {};
  let news = true;
  const tell = () => { news = true; wake(); };
  nc.subscribe(`freshet.heads.${model}`, {callback: tell});
  (async () => { for await (const status of nc.status()) if (status.type === 'reconnect') tell(); })();
  setInterval(tell, pollMillis).unref();
  await nc.flush();
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => nc.close().then(() => process.exit(0)));
  for (;;) {
    while (!news) await new Promise((resolve) => { wake = resolve; });
    news = false;
    try {
      held = await adopt(store, held);
    } catch (err) { // what is held stays; the next news, or the poll, tries again
      console.error(`${err instanceof Refusal ? 'refused' : 'failed'}: ${err.message}`);
    }
  }
}

main().catch((err) => { console.error(err.message); process.exit(1); });
