import { ByteReader, concatBytes, FormatError } from '@cella/bytes'
import type { IbmSeEntry } from './entry.ts'
import { type IbmSeAddition, type IbmSeRequest, ibmSeAdditions } from './request.ts'

// What the Ultravisor measures and how it orders what it adds. Source: s390-tools, rust/pv/src/uvattest (attest.rs,
// additional.rs, arcb.rs), where IBM's own verifier is.

const lengths = { measurement: 64, headerTags: 208, configurationId: 16 } as const
const userDataMax = 256
const additionalDataMax = 32_768
const additionLengths: { readonly [Name in IbmSeAddition]: number } = {
  'image-host-key': 32,
  'attestation-host-key': 32,
  'secret-store': 64,
  'firmware-state': 320,
}

/** Throws FormatError for a member of another length than the architecture gives it. */
export function checkLengths(entry: IbmSeEntry): void {
  for (const name of ['measurement', 'headerTags', 'configurationId'] as const) {
    const { length } = entry[name]
    if (length !== lengths[name]) throw new FormatError(name, `has ${length} bytes, expected ${lengths[name]}`)
  }
  if (entry.userData.length > userDataMax) {
    throw new FormatError('userData', `has ${entry.userData.length} bytes, at most ${userDataMax}`)
  }
  if (entry.additionalData.length > additionalDataMax) {
    throw new FormatError('additionalData', `has ${entry.additionalData.length} bytes, at most ${additionalDataMax}`)
  }
}

/** The bytes that the measurement is an HMAC of. Lengths are big-endian. */
export function measuredBytes(entry: Omit<IbmSeEntry, 'measurement'>, nonce: Uint8Array): Uint8Array {
  const sizes = new Uint8Array(8)
  const view = new DataView(sizes.buffer)
  view.setUint16(0, entry.userData.length)
  view.setUint32(4, entry.additionalData.length)
  return concatBytes(entry.headerTags, entry.configurationId, sizes, entry.userData, nonce, entry.additionalData)
}

export interface HeaderTags {
  readonly pageList: Uint8Array
  readonly addressList: Uint8Array
  readonly tweakList: Uint8Array
  readonly tag: Uint8Array
}

/** The parts of 208 bytes. */
export function headerTagsOf(bytes: Uint8Array): HeaderTags {
  const reader = new ByteReader(bytes)
  const tags = {
    pageList: reader.take(64, 'headerTags page list digest'),
    addressList: reader.take(64, 'headerTags address list digest'),
    tweakList: reader.take(64, 'headerTags tweak list digest'),
    tag: reader.take(16, 'headerTags tag'),
  }
  reader.end('headerTags')
  return tags
}

/** What was asked for, by name. Throws FormatError where the answer has not exactly that. */
export function additionsOf(
  bytes: Uint8Array,
  { additions }: Pick<IbmSeRequest, 'additions'>,
): ReadonlyMap<IbmSeAddition, Uint8Array> {
  const reader = new ByteReader(bytes)
  const found = new Map<IbmSeAddition, Uint8Array>()
  for (const name of ibmSeAdditions) {
    if (additions.includes(name)) found.set(name, reader.take(additionLengths[name], `additionalData ${name}`))
  }
  reader.end('additionalData')
  return found
}
