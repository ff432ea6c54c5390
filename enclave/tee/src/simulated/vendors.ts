import type { KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { canonicalJson, encodeBase64url, encodeHex, FormatError, parseCanonicalJson } from '@cella/bytes'
import type { OtherRoot } from '@cella/evidence'
import { issueIntelRoot, issuePckCa, issueTcbSigning } from '@cella/evidence/intel-issue'
import { issueNitroCa } from '@cella/evidence/nitro-issue'
import { digestOf, randomBytes } from '@cella/primitives'
import {
  base64url,
  exists,
  fields,
  issuerJson,
  readIssuer,
  readPrivate,
  type SimulatedIssuer,
  writeNew,
} from './folder.ts'
import { exportKey, generateP256Key, generateP384Key, importKey, signP256, signP384, spkiOf } from './keys.ts'
import { certifiedBefore, readSimulatedPlatform } from './platform.ts'

// What takes the place of Intel and AWS, beside the AMD of simulated-platform.json: a file of its own, so that a platform
// made by an earlier version stays as it is and gets these when they are first asked for.

const fileName = 'simulated-vendors.json'
const fileBytesMax = 65_536
const day = 86_400

/** Serial numbers of the certificates below Intel's root, which revocation lists name. */
export const intelSerials = { root: 1, 'pck-ca': 2, tcbSigning: 3, pck: 4 } as const

/** Common names of the simulated Nitro PKI, in AWS's form. */
const nitroRootName = 'aws.nitro-enclaves'
const nitroRegionName = `0000000000000000.eu-central-1.${nitroRootName}`

export function nitroInstanceName(instance: string): string {
  return `${instance}.eu-central-1.${nitroRootName}`
}

export interface SimulatedVendors {
  /** Unix seconds. */
  readonly createdAt: number
  readonly intel: {
    readonly root: SimulatedIssuer
    readonly pckCa: SimulatedIssuer
    readonly tcbSigning: SimulatedIssuer
    /** The machine's provisioning key; its certificate depends on what is installed. */
    readonly pck: KeyObject
    /** 16 bytes. */
    readonly ppid: Uint8Array
    /** 6 bytes: the machine's family and platform, as its TCB info names it. */
    readonly fmspc: Uint8Array
  }
  readonly nitro: {
    readonly root: SimulatedIssuer
    readonly region: SimulatedIssuer
    readonly instance: SimulatedIssuer
    /** Of EC2: `i-` and 17 hexadecimal digits. */
    readonly instanceId: string
  }
}

/** What an organisation puts into its terms beside `simulatedRoot` when it accepts simulated SGX, TDX and Nitro. */
export async function simulatedVendorRoots(folder: string): Promise<readonly OtherRoot[]> {
  const { intel, nitro } = await openSimulatedVendors(folder)
  const root = (tee: 'sgx' | 'tdx' | 'nitro', key: KeyObject): OtherRoot => ({
    tee,
    spki: digestOf(spkiOf(key)),
    simulated: true,
  })
  return [root('sgx', intel.root.key), root('tdx', intel.root.key), root('nitro', nitro.root.key)]
}

/** The vendors of the platform in `folder`, made at the first call. Throws TeeError where there is no platform. */
export async function openSimulatedVendors(folder: string): Promise<SimulatedVendors> {
  const path = join(folder, fileName)
  if (!(await exists(path))) {
    const { createdAt } = await readSimulatedPlatform(folder)
    // Of two makers at once the first one's file stays, and both read it.
    await writeNew(path, await makeVendors(createdAt))
  }
  return readPrivate(path, fileBytesMax, parseVendors)
}

async function makeVendors(createdAt: number): Promise<string> {
  const times = { notBefore: createdAt - certifiedBefore, notAfter: createdAt + 25 * 365 * day }
  const [root, pckCa, tcbSigning, pck] = await Promise.all([1, 2, 3, 4].map(generateP256Key))
  const intel = { ...times, sign: signP256(root!) }
  const [nitroRoot, region, instance] = await Promise.all([1, 2, 3].map(generateP384Key))
  const nitro = (issuer: string, subject: string, key: KeyObject, by: KeyObject, pathLength?: number) =>
    issueNitroCa({
      ...times,
      issuer,
      subject,
      serial: randomBytes(16).map((byte, at) => (at === 0 ? (byte & 0x7f) | 1 : byte)),
      spki: spkiOf(key),
      sign: signP384(by),
      pathLength,
    })
  const [rootName, regionName] = [nitroRootName, nitroRegionName]
  const instanceId = `i-${encodeHex(randomBytes(9)).slice(1)}`
  return canonicalJson({
    version: 1,
    created: createdAt,
    intel: {
      root: issuerJson({
        key: root!,
        certificate: await issueIntelRoot({ ...intel, spki: spkiOf(root!), serial: intelSerials.root }),
      }),
      pckCa: issuerJson({
        key: pckCa!,
        certificate: await issuePckCa({
          ...intel,
          ca: 'platform',
          spki: spkiOf(pckCa!),
          serial: intelSerials['pck-ca'],
        }),
      }),
      tcbSigning: issuerJson({
        key: tcbSigning!,
        certificate: await issueTcbSigning({ ...intel, spki: spkiOf(tcbSigning!), serial: intelSerials.tcbSigning }),
      }),
      pck: encodeBase64url(exportKey(pck!)),
      ppid: encodeHex(randomBytes(16)),
      fmspc: encodeHex(randomBytes(6)),
    },
    nitro: {
      root: issuerJson({ key: nitroRoot!, certificate: await nitro(rootName, rootName, nitroRoot!, nitroRoot!) }),
      region: issuerJson({ key: region!, certificate: await nitro(rootName, regionName, region!, nitroRoot!, 1) }),
      instance: issuerJson({
        key: instance!,
        certificate: await nitro(regionName, nitroInstanceName(instanceId), instance!, region!, 0),
      }),
      instanceId,
    },
  })
}

function parseVendors(bytes: Uint8Array): SimulatedVendors {
  const file = fields(parseCanonicalJson(bytes, 'vendors', fileBytesMax), ['created', 'intel', 'nitro', 'version'])
  if (file.version !== 1) throw new FormatError('version', 'is not 1')
  if (typeof file.created !== 'number') throw new FormatError('created', 'is not a number')
  const intel = fields(file.intel!, ['fmspc', 'pck', 'pckCa', 'ppid', 'root', 'tcbSigning'])
  const nitro = fields(file.nitro!, ['instance', 'instanceId', 'region', 'root'])
  const { instanceId } = nitro
  if (typeof instanceId !== 'string' || !/^i-[0-9a-f]{17}$/.test(instanceId)) {
    throw new FormatError('instanceId', 'is not one of EC2')
  }
  const pck = base64url(intel.pck!, 'pck')
  try {
    return {
      createdAt: file.created,
      intel: {
        root: readIssuer(intel.root!),
        pckCa: readIssuer(intel.pckCa!),
        tcbSigning: readIssuer(intel.tcbSigning!),
        pck: importKey(pck),
        ppid: hex(intel.ppid!, 16, 'ppid'),
        fmspc: hex(intel.fmspc!, 6, 'fmspc'),
      },
      nitro: {
        root: readIssuer(nitro.root!),
        region: readIssuer(nitro.region!),
        instance: readIssuer(nitro.instance!),
        instanceId,
      },
    }
  } finally {
    pck.fill(0)
  }
}

function hex(value: unknown, length: number, field: string): Uint8Array {
  if (typeof value !== 'string' || !new RegExp(`^[0-9a-f]{${2 * length}}$`).test(value)) {
    throw new FormatError(field, `is not ${length} bytes in hexadecimal`)
  }
  return Uint8Array.fromHex(value)
}
