import { decodeBase64, type Json } from '@cella/bytes'
import { reading } from '../error.ts'
import { isJsonObject, parseForeignJsonObject, requiredText } from '../jwt/json.ts'
import { checkLengths } from './answer.ts'
import type { IbmSeEntry } from './entry.ts'

const bytesMax = 131_072

/** A name for people if this is the JSON of Confidential Containers, or a file of pvattest. */
export function recogniseIbmSe(bytes: Uint8Array, json: Json | undefined): string | undefined {
  if (isJsonObject(json) && Object.hasOwn(json, 'cuid') && Object.hasOwn(json, 'image_hdr_tags')) {
    return 'IBM Secure Execution evidence of a Confidential Containers guest'
  }
  return isPvattest(bytes) ? 'a file of pvattest (IBM Secure Execution)' : undefined
}

/** Whether these bytes begin with pvattest's magic. */
export function isPvattest(bytes: Uint8Array): boolean {
  return new TextDecoder('latin1').decode(bytes.subarray(0, 8)) === 'pvattest'
}

/**
 * Evidence of the JSON that the attestation agent of Confidential Containers gives. What it carries of the request's
 * secrets, encrypted to the verifier's key, is not looked at: they are given to the verification. Throws EvidenceError.
 */
export function ibmSeEvidenceOfTrustee(bytes: Uint8Array): IbmSeEntry {
  return reading(() => {
    const json = parseForeignJsonObject(bytes, 'evidence', bytesMax)
    const member = (name: string): Uint8Array => decodeBase64(requiredText(json, name, 'evidence'), `evidence.${name}`)
    const entry: IbmSeEntry = {
      role: 'cpu',
      format: 'ibm-se/1',
      measurement: member('measurement'),
      headerTags: member('image_hdr_tags'),
      configurationId: member('cuid'),
      userData: member('user_data'),
      additionalData: member('additional_data'),
    }
    checkLengths(entry)
    return entry
  })
}
