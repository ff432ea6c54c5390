import { hash, sign } from 'node:crypto'
import { encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import type { OtherRoot } from '../src/roots.ts'
import { type CertificateParts, caFlag, certificate, type Key, newKey, spkiOf, usage, values } from './nvidia.ts'

// A signer of reference integrity manifests of our own.

export const keys = { root: newKey(), signer: newKey() }
export const rimRoot: OtherRoot = { tee: 'nvidia-rim', spki: digestOf(spkiOf(keys.root)), simulated: false }

export function signerChain(more: Partial<CertificateParts> = {}): Uint8Array[] {
  return [
    certificate({
      subject: 'Signer',
      issuer: 'RIM Root',
      key: keys.signer,
      signer: keys.root,
      extensions: [usage.sign],
      ...more,
    }),
    certificate({
      subject: 'RIM Root',
      issuer: 'RIM Root',
      key: keys.root,
      signer: keys.root,
      extensions: [caFlag, usage.ca],
    }),
  ]
}

export interface RimParts {
  readonly version?: string
  readonly product?: string
  readonly manufacturer?: string
  readonly payload?: string
  readonly method?: string
  readonly transform?: string
  readonly digest?: string
  readonly uri?: string
  readonly chain?: readonly Uint8Array[]
  readonly key?: Key
  /** Changes the signed text afterwards. */
  readonly edit?: (text: string) => string
}

const c14n11 = 'http://www.w3.org/2006/12/xml-c14n11'
const more = 'http://www.w3.org/2001/04/xmldsig-more#'

export function resource(index: number, values: readonly Uint8Array[], active = 'True'): string {
  const hashes = values.map((value, at) => ` s:Hash${at}="${value.toHex()}"`).join('')
  return `<Resource active="${active}" alternatives="${values.length}" index="${index}" name="M" size="48" type="Measurement"${hashes}></Resource>`
}

/** Written so that it is its own canonical form: attributes sorted, no self-closed elements. */
export function rim(parts: RimParts = {}): Uint8Array {
  const { product = 'GH100', version = '550.90.07', manufacturer = '5703', method = c14n11, transform = c14n11 } = parts
  const payload = parts.payload ?? resource(0, [values[0]!]) + resource(1, [new Uint8Array(48)], 'False')
  const head =
    '<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:s="http://www.w3.org/2001/04/xmlenc#sha384" name="x">\n' +
    `<Meta xmlns:r="https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/" colloquialVersion="${version}" product="${product}" r:FirmwareManufacturerId="${manufacturer}"></Meta>\n` +
    `<Payload>${payload}</Payload>\n`
  const tail = '</SoftwareIdentity>'
  const digest = parts.digest ?? hash('sha384', head + tail, 'base64')
  const info = (namespaces: string): string =>
    `<ds:SignedInfo${namespaces}><ds:CanonicalizationMethod Algorithm="${method}"></ds:CanonicalizationMethod>` +
    `<ds:SignatureMethod Algorithm="${more}ecdsa-sha384"></ds:SignatureMethod><ds:Reference URI="${parts.uri ?? ''}"><ds:Transforms>` +
    '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform>' +
    `<ds:Transform Algorithm="${transform}"></ds:Transform></ds:Transforms>` +
    `<ds:DigestMethod Algorithm="${more}sha384"></ds:DigestMethod><ds:DigestValue>${digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>`
  // Inclusive: what is in scope at the signature is written at the apex of SignedInfo.
  const inScope =
    ' xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" xmlns:s="http://www.w3.org/2001/04/xmlenc#sha384"'
  const signature = sign('sha384', encodeUtf8(info(inScope)), {
    key: parts.key ?? keys.signer,
    dsaEncoding: 'ieee-p1363',
  }).toString('base64')
  const certificates = (parts.chain ?? signerChain())
    .map((der) => `<ds:X509Certificate>${der.toBase64().replace(/.{64}/g, '$&\n')}</ds:X509Certificate>`)
    .join('')
  const text =
    `${head}<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#">${info('')}<ds:SignatureValue>${signature}</ds:SignatureValue>` +
    `<ds:KeyInfo><ds:X509Data>${certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>${tail}`
  return encodeUtf8(parts.edit?.(text) ?? text)
}
