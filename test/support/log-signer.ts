import { createHash } from 'node:crypto'
import type { AddressInfo, Server, Socket } from 'node:net'
import { type Digest, encodeBase64url } from '@cella/bytes'
import { type Payload, parseDocumentOf, signDocument } from '@cella/documents'
import type { TrustedRoot } from '@cella/evidence'
import { encodeLeaf } from '@cella/log'
import { createSignerServer, Identity, LogSigner } from '@cella/log-signer'
import { ed25519PublicKey, keyIdOf, randomBytes } from '@cella/primitives'
import {
  createSimulatedPlatform,
  openTee,
  type SimulatedLaunch,
  simulatedMeasurementHex,
  type TeeDriver,
} from '@cella/tee'

/** A version of the log signer in a simulated TEE, with its builder's documents. */
export interface SignerVersion {
  readonly tee: TeeDriver
  readonly build: string
  readonly identity: Identity
}

/** A builder and a machine on which log signers run. */
export class SignerWorld {
  readonly platform: string
  readonly root: TrustedRoot
  readonly builder: string
  readonly #seed: Uint8Array

  private constructor(platform: string, root: TrustedRoot, { builder, seed }: { builder: string; seed: Uint8Array }) {
    this.platform = platform
    this.root = root
    this.builder = builder
    this.#seed = seed
  }

  static async open(platform: string): Promise<SignerWorld> {
    const { root } = await createSimulatedPlatform(platform)
    return new SignerWorld(platform, root, await newBuilder())
  }

  /** Version `digit` of the code; `change` alters what its Build document says, `seed` who signs it. */
  async version(
    digit: string,
    { change = {}, seed = this.#seed }: { change?: Partial<Payload<'cella/build'>>; seed?: Uint8Array } = {},
  ): Promise<SignerVersion> {
    const launch = launchOf(digit)
    const tee = await openTee({ kind: 'simulated', folder: this.platform, measured: launch })
    const build = await this.build(digit, { change, seed })
    return { tee, build, identity: await this.identity(tee, build) }
  }

  identity(tee: TeeDriver, build: string): Promise<Identity> {
    const configuration = createHash('sha256').update('configuration').digest('hex') as Digest
    return Identity.open(tee, { configuration, build, builder: this.builder, roots: [this.root] })
  }

  async build(
    digit: string,
    { change = {}, seed = this.#seed }: { change?: Partial<Payload<'cella/build'>>; seed?: Uint8Array } = {},
  ): Promise<string> {
    const launch = launchOf(digit)
    const { envelope } = await signDocument<'cella/build'>(
      {
        type: 'cella/build',
        version: 1,
        organisation: parseDocumentOf('cella/organisation', this.builder).digest,
        signer: keyIdOf(ed25519PublicKey(seed)),
        cosigners: [],
        role: 'log-signer',
        release: `0.1.${digit}`,
        files: [{ name: 'log-signer.mjs', digest: launch.bundleDigest }],
        node: { release: process.version, platform: 'linux-x64', digest: launch.nodeDigest },
        arguments: [...launch.commandLine],
        measurements: [
          { tee: 'sev-snp', boundary: 'vm', simulated: true, measurement: simulatedMeasurementHex(launch) },
        ],
        sbom: createHash('sha256').update('{}').digest('hex') as Digest,
        reproduce: 'npm run build:enclave',
        ...change,
      },
      [seed],
    )
    return envelope
  }
}

export async function newBuilder(): Promise<{ builder: string; seed: Uint8Array }> {
  const seed = randomBytes(32)
  const { envelope } = await signDocument<'cella/organisation'>(
    {
      type: 'cella/organisation',
      version: 1,
      organisation: null,
      signer: keyIdOf(ed25519PublicKey(seed)),
      cosigners: [],
      revision: 1,
      previous: null,
      name: 'Builder',
      rootKeys: [encodeBase64url(ed25519PublicKey(seed))],
      threshold: 1,
      recoveryKeys: [],
      recoveryThreshold: 0,
    },
    [seed],
  )
  return { builder: envelope, seed }
}

export function launchOf(digit: string): SimulatedLaunch {
  return {
    nodeDigest: 'a'.repeat(64) as Digest,
    bundleDigest: digit.repeat(64) as Digest,
    commandLine: ['--no-addons'],
  }
}

/** A signer behind a port, which stays the same over its restarts. */
export class ServedSigner {
  readonly #open: () => Promise<{ server: Server; signer: LogSigner }>
  #server: Server | undefined
  readonly #sockets = new Set<Socket>()
  #port = 0
  signer!: LogSigner

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  constructor(version: SignerVersion, at: { folder: string; origin: string }) {
    this.#open = async () => {
      const signer = await LogSigner.open(version.tee, { ...at, identity: version.identity })
      return { signer, server: createSignerServer({ signer, tee: version.tee, configuration: 'd'.repeat(64) }) }
    }
  }

  async start(): Promise<string> {
    const { server, signer } = await this.#open()
    this.#server = server.on('connection', (socket: Socket) => this.#sockets.add(socket))
    this.signer = signer
    return this.#listen(server)
  }

  /** Ends it as a kill does: connections break. */
  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#server?.close(() => resolve())
      for (const socket of this.#sockets) socket.destroy()
      this.#sockets.clear()
    })
  }

  async #listen(server: Server): Promise<string> {
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve))
    this.#port = (server.address() as AddressInfo).port
    return `http://127.0.0.1:${this.#port}`
  }
}

/** A leaf that is told apart by its number. */
export function leafOf(n: number): Uint8Array {
  const commitment = new Uint8Array(32)
  new DataView(commitment.buffer).setFloat64(0, n)
  return encodeLeaf({ kind: 'document', commitment, tag: commitment.slice(0, 16) })
}
