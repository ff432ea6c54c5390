import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { SnpEvidenceEntry } from '@cella/evidence'
import type { TeeDriver } from '@cella/tee'
import { compactDecrypt, type JWK } from 'jose'

// A guest as those of Confidential Containers are, written from their client's source and sharing no code with the vault: it
// spells messages as serde does, hashes canonical JSON that it writes out by hand, decrypts with `jose`, and demands the very header
// bytes that the real client takes as additional data: that one does not look at them but writes the header anew.

export type GuestKeyKind = 'P-256' | 'P-521' | 'RSA'

export interface KbsAnswer {
  readonly status: number
  readonly body: { readonly type?: string; readonly detail?: string; readonly [name: string]: unknown }
  readonly text: string
  readonly cookie: string | undefined
}

/** What a guest may do otherwise than it should. */
export interface GuestFaults {
  /** Another nonce in runtime data and evidence. */
  readonly nonce?: string
  /** Evidence over another key than the one it shows. */
  readonly boundKey?: KbsGuest
  /** The body as it is sent. */
  readonly bend?: (body: string) => string
  readonly cookie?: string
}

/** What a guest runs on: how the protocol names it, and the JSON that its attester makes over a digest of 48 bytes. */
export interface GuestMachine {
  readonly tee: string
  readonly attest: (digest: Uint8Array) => Promise<object>
}

/** A simulated machine whose evidence travels as the attesters for `snp`, `tdx` and `sgx` write it. */
export function machineOf(driver: TeeDriver): GuestMachine {
  const { tee } = driver.describe()
  return {
    tee: tee === 'sev-snp' ? 'snp' : String(tee),
    attest: async (digest) => {
      const reportData = new Uint8Array(64)
      reportData.set(digest)
      const [entry] = (await driver.getEvidence(reportData)).entries
      if (entry?.format === 'sev-snp/1') return snpJson(entry as SnpEvidenceEntry)
      const { quote } = entry as unknown as { quote: Uint8Array }
      const base64 = Buffer.from(quote).toString('base64')
      return tee === 'tdx' ? { cc_eventlog: null, quote: base64 } : { quote: base64 }
    },
  }
}

export class KbsGuest {
  readonly url: string
  readonly #machine: GuestMachine
  readonly #private: KeyObject
  readonly #jwk: JWK
  cookie: string | undefined
  nonce = ''
  token = ''
  /** What was sent last to `attest`. */
  sent = ''

  /** `url` as a guest is configured with: `/kbs/v0/…` comes behind it. */
  constructor(url: string, machine: GuestMachine | TeeDriver, kind: GuestKeyKind = 'P-256') {
    this.url = url
    this.#machine = 'attest' in machine ? machine : machineOf(machine)
    const pair =
      kind === 'RSA'
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : generateKeyPairSync('ec', { namedCurve: kind })
    this.#private = pair.privateKey
    this.#jwk = pair.publicKey.export({ format: 'jwk' }) as JWK
  }

  /** In the order of the client's own fields. */
  get publicKey(): string {
    const { kty, crv, x, y, n, e } = this.#jwk
    return kty === 'RSA'
      ? `{"kty":"RSA","alg":"RSA-OAEP-256","n":"${n}","e":"${e}"}`
      : `{"kty":"EC","crv":"${crv}","alg":"ECDH-ES+A256KW","x":"${x}","y":"${y}"}`
  }

  /** RFC 8785 of the same. */
  get canonicalKey(): string {
    const { kty, crv, x, y, n, e } = this.#jwk
    return kty === 'RSA'
      ? `{"alg":"RSA-OAEP-256","e":"${e}","kty":"RSA","n":"${n}"}`
      : `{"alg":"ECDH-ES+A256KW","crv":"${crv}","kty":"EC","x":"${x}","y":"${y}"}`
  }

  async auth(
    body = `{"version":"0.4.0","tee":"${this.#machine.tee}","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}}`,
  ): Promise<KbsAnswer> {
    const answer = await this.#call('POST', 'auth', { body })
    this.cookie = answer.cookie ?? this.cookie
    if (answer.status === 200) this.nonce = String(answer.body.nonce)
    return answer
  }

  async attest(faults: GuestFaults = {}): Promise<KbsAnswer> {
    const nonce = faults.nonce ?? this.nonce
    const bound = (faults.boundKey ?? this).canonicalKey
    const runtimeData = `{"additional-evidence":"","nonce":"${nonce}","tee-pubkey":${bound}}`
    const primary = await this.#machine.attest(createHash('sha384').update(runtimeData).digest())
    const body = `{"init-data":null,"runtime-data":{"nonce":"${nonce}","tee-pubkey":${this.publicKey}},"tee-evidence":{"primary_evidence":${JSON.stringify(primary)},"additional_evidence":""}}`
    this.sent = faults.bend?.(body) ?? body
    const answer = await this.#call('POST', 'attest', { body: this.sent, cookie: faults.cookie ?? this.cookie })
    if (answer.status === 200) this.token = String(answer.body.token)
    return answer
  }

  /** With the session's cookie, or as guests do whose agent got the token, with that. */
  resource(path: string, by: 'cookie' | 'token' | { cookie: string } = 'cookie'): Promise<KbsAnswer> {
    if (by === 'token') return this.#call('GET', `resource/${path}`, { token: this.token })
    return this.#call('GET', `resource/${path}`, { cookie: by === 'cookie' ? this.cookie : by.cookie })
  }

  /** A session with evidence. Throws where one of the calls is refused. */
  async handshake(): Promise<this> {
    for (const answer of [await this.auth(), await this.attest()]) {
      if (answer.status !== 200) throw new Error(answer.text)
    }
    return this
  }

  /** What an answer to `resource` holds. Throws where `jose` or the real client could not open it. */
  async open({ text }: KbsAnswer): Promise<Uint8Array> {
    const jwe = JSON.parse(text) as Record<'protected' | 'encrypted_key' | 'iv' | 'ciphertext' | 'tag', string>
    const compact = [jwe.protected, jwe.encrypted_key, jwe.iv, jwe.ciphertext, jwe.tag].join('.')
    const { plaintext } = await compactDecrypt(compact, this.#private)
    // The header anew: alg, enc, then what else there is by name, at every depth.
    const { alg, enc, ...others } = JSON.parse(Buffer.from(jwe.protected, 'base64url').toString()) as JWK & {
      enc: string
    }
    const sorted = Object.entries(others).sort(([a], [b]) => (a < b ? -1 : 1))
    const members = sorted.map(
      ([name, value]) => `,${JSON.stringify(name)}:${JSON.stringify(value, Object.keys(value as object).sort())}`,
    )
    const header = `{"alg":"${alg}","enc":"${enc}"${members.join('')}}`
    if (Buffer.from(header).toString('base64url') !== jwe.protected) {
      throw new Error(`the real client would write the header as ${header}`)
    }
    return plaintext
  }

  async #call(
    method: 'GET' | 'POST',
    path: string,
    sent: { body?: string; cookie?: string | undefined; token?: string },
  ): Promise<KbsAnswer> {
    const response = await fetch(`${this.url}/kbs/v0/${path}`, {
      method,
      headers: {
        ...(sent.body !== undefined && { 'content-type': 'application/json' }),
        ...(sent.cookie !== undefined && { cookie: sent.cookie }),
        ...(sent.token !== undefined && { authorization: `Bearer ${sent.token}` }),
      },
      ...(sent.body !== undefined && { body: sent.body }),
    })
    const text = await response.text()
    const cookie = response.headers.getSetCookie()[0]?.split(';')[0]
    return { status: response.status, body: JSON.parse(text), text, cookie }
  }
}

/** As the attester of `snp` writes it: fields by name, bytes as lists of numbers. */
function snpJson({ report, certificates }: SnpEvidenceEntry): object {
  const view = new DataView(report.buffer, report.byteOffset, report.byteLength)
  const list = (at: number, length: number): number[] => [...report.subarray(at, at + length)]
  const isTurin = view.getUint8(0x188) === 0x1a
  const tcb = (at: number): object =>
    isTurin
      ? {
          fmc: report[at],
          bootloader: report[at + 1],
          tee: report[at + 2],
          snp: report[at + 3],
          microcode: report[at + 7],
        }
      : { fmc: null, bootloader: report[at], tee: report[at + 1], snp: report[at + 6], microcode: report[at + 7] }
  const version = (at: number): object => ({ major: report[at + 2], minor: report[at + 1], build: report[at] })
  return {
    attestation_report: {
      version: view.getUint32(0, true),
      guest_svn: view.getUint32(4, true),
      policy: Number(view.getBigUint64(8, true)),
      family_id: list(0x10, 16),
      image_id: list(0x20, 16),
      vmpl: view.getUint32(0x30, true),
      sig_algo: view.getUint32(0x34, true),
      current_tcb: tcb(0x38),
      plat_info: Number(view.getBigUint64(0x40, true)),
      key_info: view.getUint32(0x48, true),
      report_data: list(0x50, 64),
      measurement: list(0x90, 48),
      host_data: list(0xc0, 32),
      id_key_digest: list(0xe0, 48),
      author_key_digest: list(0x110, 48),
      report_id: list(0x140, 32),
      report_id_ma: list(0x160, 32),
      reported_tcb: tcb(0x180),
      cpuid_fam_id: report[0x188],
      cpuid_mod_id: report[0x189],
      cpuid_step: report[0x18a],
      chip_id: list(0x1a0, 64),
      committed_tcb: tcb(0x1e0),
      current: version(0x1e8),
      committed: version(0x1ec),
      launch_tcb: tcb(0x1f0),
      launch_mit_vector: Number(view.getBigUint64(0x1f8, true)),
      current_mit_vector: Number(view.getBigUint64(0x200, true)),
      signature: { r: list(0x2a0, 72), s: list(0x2e8, 72) },
    },
    cert_chain: certificates.map((data, at) => ({ cert_type: ['VCEK', 'ASK', 'ARK'][at], data: [...data] })),
  }
}
