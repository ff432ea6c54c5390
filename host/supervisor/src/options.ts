import type { S3Settings } from '@cella/blobs'
import type { CertificateFiles } from './certificate.ts'

export interface InstallationOptions {
  /** Everything that the installation keeps. */
  readonly dataFolder: string
  /** Folder with vault.mjs, worker.mjs, the worker's runner and builds.json; looked at when a data folder is started first. */
  readonly enclaves: string
  /** Folder of the project's sources or of an installed package, for the entry points of the host's own processes. */
  readonly root: string
  /** Of the manager: this one and no other. 0 or absent: that of last time, else any free one or the usual one. */
  readonly port: number | undefined
  /** Where others reach the manager, over TLS: with these files, or under a certificate of the installation's own. */
  readonly public?:
    | { readonly host: string; readonly port: number; readonly tls: CertificateFiles | 'self-signed' }
    | undefined
  readonly workers: number
  /** Vaults beside the first, for owners who want a vault of their own. Default 1 in all. */
  readonly vaults?: number | undefined
  /** Vaults that join the first and stand in for it: of the same build. Default 0. */
  readonly replicas?: number | undefined
  /** Folder with another build of the enclaves, of which a vault joins the first: for organisations that accept it. */
  readonly nextEnclaves?: string | undefined
  /** Until when the first vault is served, Unix seconds: told to who asks. */
  readonly vaultUntil?: number | undefined
  /**
   * Kinds of TEE to simulate. The vault has the first at the first start of a data folder, and keeps it: what it seals
   * opens nowhere else. Workers have them in turn. Empty: those of last time, or the usual one.
   */
  readonly tees: readonly string[]
  /** Witnesses to run here. Only rehearsal: under one user they watch nobody. */
  readonly localWitnesses: number
  /** Others' witnesses, added to those known. */
  readonly witnesses: readonly { readonly vkey: string; readonly url: string }[]
  /** Whether an attestation service runs beside them, reached through the manager under /attest. */
  readonly attest?: boolean
  /** Under which address others reach the manager, where it is not `public`'s: part of the service's issuer. */
  readonly publicUrl?: string | undefined
  /** What enclaves are told instead of the manager's own address, such as a proxy before it. Binds nothing. */
  readonly managerUrl?: string | undefined
  /** How long a worker may be silent before its run is given to the next attempt. */
  readonly leaseSeconds?: number
  /** Seconds by which the clocks of manager and log are wrong: to rehearse a host that lies about the time. */
  readonly hostClockOffset?: number | undefined
  /**
   * Where the key of a new log lies: in an enclave of its own, which is the default, or in a file of the host. A log keeps
   * what it began with.
   */
  readonly logSigner?: 'enclave' | 'host' | undefined
  /** Whether the log's key passes to the log signer in `enclaves`, where that is another one than what holds it. */
  readonly upgradeLogSigner?: boolean | undefined
  /** An OTLP/HTTP collector for the manager's traces. */
  readonly traces?: string | undefined
  /** Seconds in which each organisation's stream of events gets at least one entry; absent: none beside its events. */
  readonly coverSeconds?: number | undefined
  /** An S3 store for ciphertext; without it a folder below `dataFolder`. */
  readonly blobs?: S3Settings | undefined
  /** A PostgreSQL of the operator's; without it one of the installation's own. */
  readonly databaseUrl?: string | undefined
}
