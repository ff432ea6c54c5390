import { decodeUtf8, encodeHex, FormatError } from '@cella/bytes'

/** The two kinds of device that report in this form. */
export type NvidiaDevice = 'gpu' | 'nvswitch'

/** What the opaque data says, beside the measurements. Names and forms as NVIDIA's own verifiers read them. */
export interface NvidiaConfiguration {
  /** `550.90.07`; a switch has no driver. */
  readonly driverVersion: string | null
  /** VBIOS of a GPU (`96.00.A5.00.01`), BIOS of a switch. */
  readonly vbiosVersion: string
  /** `G520`, `0200`, `885`: together they name the VBIOS release. */
  readonly project: string | null
  readonly projectSku: string | null
  readonly chipSku: string | null
  readonly boardId: string | null
  /** SHA-384 of the firmware that the report's key belongs to; a switch doesn't repeat it here. */
  readonly fwid: Uint8Array | null
  /** Whether the video decoder is on: then the measurement 35 of the RIM counts. `null` on a switch. */
  readonly nvdec0: 'enabled' | 'disabled' | null
  readonly protectedPcie: 'on' | 'off' | null
  /** Multi-pass-through, single pass-through, protected PCIe; `null` before opaque data version 1. */
  readonly mode: 'mpt' | 'spt' | 'ppcie' | null
  /** PDIs of the switches that a GPU is linked to, or of the GPUs that a switch is: 8 bytes each, as hexadecimal. */
  readonly linkedDevices: readonly string[]
  /** PDI of the switch itself. */
  readonly devicePdi: string | null
}

const opaqueVersionMax = 1n
// Known types: 1 to 27 are common, 32 to 36 are of GPUs since Blackwell.
const typeMax: Readonly<Record<NvidiaDevice, number>> = { gpu: 36, nvswitch: 27 }
const type = {
  driverVersion: 3,
  vbiosVersion: 6,
  nvdec0: 11,
  boardId: 14,
  chipSku: 15,
  project: 17,
  projectSku: 18,
  fwid: 20,
  protectedPcie: 21,
  pdi: 22,
  gpuPdis: 26,
  version: 34,
  mode: 36,
} as const

/** Reads the opaque fields of a GPU or switch. A type or version that is not known is refused. Throws FormatError. */
export function readOpaque(fields: ReadonlyMap<number, Uint8Array>, device: NvidiaDevice): NvidiaConfiguration {
  for (const found of fields.keys()) {
    if (found === 0 || found > typeMax[device]) throw new FormatError('opaque data', `has a field of type ${found}`)
  }
  const version = device === 'gpu' ? littleEndian(fields.get(type.version), 'opaque data version') : null
  if (version !== null && version > opaqueVersionMax) {
    throw new FormatError('opaque data version', `is ${version}, at most ${opaqueVersionMax} is read`)
  }
  const bytes = (of: keyof typeof type): Uint8Array | undefined => fields.get(type[of])
  const vbios = bytes('vbiosVersion')
  if (vbios === undefined) throw new FormatError('opaque data', 'has no VBIOS version')
  const gpu = device === 'gpu'
  const driver = bytes('driverVersion')
  const nvdec0 = bytes('nvdec0')
  if (gpu && (driver === undefined || nvdec0 === undefined)) {
    throw new FormatError('opaque data', 'has no driver version or NVDEC0 status')
  }
  return {
    driverVersion: driver === undefined ? null : text(driver, 'driver version'),
    vbiosVersion: gpu ? gpuVbios(vbios) : text(vbios, 'BIOS version'),
    project: optional(bytes('project'), (value) => text(value, 'project')),
    projectSku: optional(bytes('projectSku'), (value) => text(value, 'project SKU')),
    chipSku: optional(bytes('chipSku'), (value) => text(value, 'chip SKU')),
    boardId: optional(bytes('boardId'), encodeHex),
    fwid: optional(bytes('fwid'), (value) => exactly(value, 48, 'FWID')),
    nvdec0: optional(nvdec0, (value) => flag(value, { 170: 'enabled', 85: 'disabled' }, 'NVDEC0 status')),
    protectedPcie: optional(bytes('protectedPcie'), (value) => flag(value, { 170: 'on', 85: 'off' }, 'PCIe status')),
    mode: version === null ? null : optional(bytes('mode'), mode),
    linkedDevices: pdis(gpu ? bytes('pdi') : bytes('gpuPdis')),
    devicePdi: gpu ? null : optional(bytes('pdi'), (value) => reversedHex(exactly(value, 8, 'device PDI'))),
  }
}

function optional<T>(value: Uint8Array | undefined, read: (value: Uint8Array) => T): T | null {
  return value === undefined ? null : read(value)
}

function exactly(value: Uint8Array, length: number, field: string): Uint8Array {
  if (value.length !== length) throw new FormatError(field, `has ${value.length} bytes, expected ${length}`)
  return value
}

/** Printable ASCII, padded with zeros. */
function text(value: Uint8Array, field: string): string {
  const end = value.indexOf(0)
  if (end >= 0 && value.subarray(end).some((byte) => byte !== 0)) throw new FormatError(field, 'goes on after a zero')
  const read = decodeUtf8(end < 0 ? value : value.subarray(0, end), field)
  if (!/^[\x21-\x7e]{1,32}$/.test(read)) throw new FormatError(field, 'is not 1 to 32 printable characters')
  return read
}

/** Eight bytes little-endian: four of the version, one of the OEM version, three of zero. `96.00.A5.00.01`. */
function gpuVbios(value: Uint8Array): string {
  exactly(value, 8, 'VBIOS version')
  if (value.subarray(5).some((byte) => byte !== 0)) throw new FormatError('VBIOS version', 'has bytes above its fifth')
  const numbers = [value[3]!, value[2]!, value[1]!, value[0]!, value[4]!]
  return numbers.map((number) => number.toString(16).padStart(2, '0').toUpperCase()).join('.')
}

function flag<Word extends string>(value: Uint8Array, words: { readonly [byte: number]: Word }, field: string): Word {
  const word = words[exactly(value, 1, field)[0]!]
  if (word === undefined) throw new FormatError(field, `is ${value[0]}, which stands for nothing`)
  return word
}

function mode(value: Uint8Array): 'mpt' | 'spt' | 'ppcie' {
  const number = littleEndian(exactly(value, 2, 'feature flag'), 'feature flag')
  const word = (['mpt', 'spt', 'ppcie'] as const)[Number(number)]
  if (word === undefined) throw new FormatError('feature flag', `is ${number}, which stands for nothing`)
  return word
}

function littleEndian(value: Uint8Array | undefined, field: string): bigint | null {
  if (value === undefined) return null
  if (value.length === 0 || value.length > 8) throw new FormatError(field, `has ${value.length} bytes, expected 1 to 8`)
  return BigInt(`0x${reversedHex(value)}`)
}

function pdis(value: Uint8Array | undefined): string[] {
  if (value === undefined) return []
  if (value.length % 8 !== 0) throw new FormatError('PDI list', `has ${value.length} bytes, not eight for each`)
  const found = Array.from({ length: value.length / 8 }, (_, at) => reversedHex(value.subarray(at * 8, at * 8 + 8)))
  return [...new Set(found)].filter((pdi) => pdi !== '0000000000000000').sort()
}

function reversedHex(value: Uint8Array): string {
  return encodeHex(Uint8Array.from(value).reverse())
}
