import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { jsonObject, textMember } from './answer.ts'

/** PEM text of VCEK, ASK and ARK in the JSON of Azure's THIM service. Throws FormatError. */
export function thimCertificates(json: Uint8Array): Uint8Array {
  const answer = jsonObject(json, 'host certificates')
  const [leaf, chain] = [textMember(answer, 'vcekCert'), textMember(answer, 'certificateChain')]
  return concatBytes(encodeUtf8(leaf.endsWith('\n') ? leaf : `${leaf}\n`), encodeUtf8(chain))
}
