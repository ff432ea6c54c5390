import type { Json } from '@cella/bytes'
import { z } from 'zod'
import { type Boundary, boundaryField, digestField } from './fields.ts'

/** Kinds of TEE that can be such a boundary, the usual one first. */
export const teesOf: { readonly [Name in Boundary]: readonly string[] } = {
  vm: ['sev-snp', 'tdx', 'nitro', 'cca', 'ibm-se', 'azure-vm'],
  'container-group': ['azure-container-group'],
  process: ['sgx'],
  world: ['psa'],
}

/** Processor lines of AMD, which has a root for each. */
export const snpProductField = z.enum(['Milan', 'Genoa', 'Turin', 'Venice'])

/**
 * TEEs whose evidence an organisation can accept for its keys. Tokens of other verifiers (MAA, NRAS, EAR) are none: a key
 * is released on evidence that the vault itself verifies.
 */
const otherTeeField = z.enum([
  'sgx',
  'tdx',
  'nitro',
  'cca',
  'psa',
  'tpm',
  'azure-vm',
  'azure-container-group',
  'nvidia-gpu',
  'nvidia-rim',
])
const teeField = z.enum(['sev-snp', ...otherTeeField.options])

/** A root of trust: SHA-256 of its SubjectPublicKeyInfo, and whether it stands for a simulated TEE. */
export const rootField = z.union([
  z.strictObject({ tee: z.literal('sev-snp'), product: snpProductField, spki: digestField, simulated: z.boolean() }),
  z.strictObject({ tee: otherTeeField, spki: digestField, simulated: z.boolean() }),
])

/** What is demanded of each TEE, as in an appraisal policy: read by core/release, and NOT looked at here. */
export const teePartsField = z.partialRecord(
  teeField,
  z.custom<{ readonly [name: string]: Json }>(
    (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
    'is not a JSON object',
  ),
)

const measurementText = z.string().regex(/^(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/)

/** What one build measures in one kind of TEE. */
export const measurementField = z
  .strictObject({
    tee: teeField,
    boundary: boundaryField,
    simulated: z.boolean(),
    /** What names the code there (launch measurement, MRENCLAVE, MRTD, PCR0): 32, 48 or 64 bytes in lower-case hexadecimal. */
    measurement: measurementText,
    /** Further registers by the names in the evidence's claims (`rtmr1`, `pcr8`), each of which has to be equal. */
    registers: z.record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/), measurementText).exactOptional(),
    /** What the launcher sets (HOST_DATA, MRCONFIGID), where a part of the code is named there. */
    hostData: z
      .string()
      .regex(/^(?:[0-9a-f]{2}){1,64}$/)
      .exactOptional(),
  })
  .refine(({ tee, measurement }) => tee !== 'sev-snp' || measurement.length === 96, 'SEV-SNP measures 48 bytes')
