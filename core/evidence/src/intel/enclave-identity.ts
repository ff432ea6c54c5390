import { FormatError } from '@cella/bytes'
import { type Fields, hexOf, integerOf, parseSigned, type SignedJson, textOf, timeOf } from './json.ts'
import { readSvnLevels, type SvnLevel } from './tcb-info.ts'

// Intel PCS API, versions 3 and 4: “Get Quoting Enclave Identity”, “Get TD Quoting Enclave Identity”.

const identityBytesMax = 65_536

/** What Intel's quoting enclave must be. Its signature has not been verified. */
export interface EnclaveIdentity {
  /** The quoting enclave for SGX, the one for TDX, or the enclave of Intel's own verifier. */
  readonly id: 'QE' | 'TD_QE' | 'QVE'
  readonly version: 2 | 3
  /** Unix seconds, both inclusive. */
  readonly issuedAt: number
  readonly nextUpdate: number
  readonly evaluation: number
  /** Lower-case hexadecimal: 4, 4, 16, 16 and 32 bytes, as the report has the bytes. */
  readonly miscSelect: string
  readonly miscSelectMask: string
  readonly attributes: string
  readonly attributesMask: string
  readonly mrSigner: string
  readonly productId: number
  /** Best first. */
  readonly levels: readonly SvnLevel[]
}

/** Reads the answer of the PCS, `{"enclaveIdentity":…,"signature":…}`, at most 64 KiB. Throws FormatError. */
export function parseEnclaveIdentity(bytes: Uint8Array, field: string): SignedJson<EnclaveIdentity> {
  return parseSigned(bytes, { field, member: 'enclaveIdentity', bytesMax: identityBytesMax, read: readIdentity })
}

function readIdentity(identity: Fields, field: string): EnclaveIdentity {
  const id = textOf(identity.id, `${field}.id`)
  if (id !== 'QE' && id !== 'TD_QE' && id !== 'QVE') {
    throw new FormatError(`${field}.id`, `is ${id}, expected QE, TD_QE or QVE`)
  }
  const version = integerOf(identity.version, `${field}.version`, 255)
  if (version !== 2 && !(version === 3 && id === 'TD_QE')) {
    throw new FormatError(`${field}.version`, `is ${version} for ${id}; 2 is read, for TD_QE also 3`)
  }
  const levels = readSvnLevels(identity.tcbLevels, `${field}.tcbLevels`)
  if (levels.length === 0) throw new FormatError(`${field}.tcbLevels`, 'is empty')
  return {
    id,
    version,
    issuedAt: timeOf(identity.issueDate, `${field}.issueDate`),
    nextUpdate: timeOf(identity.nextUpdate, `${field}.nextUpdate`),
    evaluation: integerOf(identity.tcbEvaluationDataNumber, `${field}.tcbEvaluationDataNumber`, 0xffffffff),
    miscSelect: hexOf(identity.miscselect, 4, `${field}.miscselect`),
    miscSelectMask: hexOf(identity.miscselectMask, 4, `${field}.miscselectMask`),
    attributes: hexOf(identity.attributes, 16, `${field}.attributes`),
    attributesMask: hexOf(identity.attributesMask, 16, `${field}.attributesMask`),
    mrSigner: hexOf(identity.mrsigner, 32, `${field}.mrsigner`),
    productId: integerOf(identity.isvprodid, `${field}.isvprodid`, 65_535),
    levels,
  }
}
