import { type Digest, decodeBase64url } from '@cella/bytes'
import { hpkePublicKeyLength, type KeyId } from '@cella/primitives'
import { z } from 'zod'

// Enclaves run without code from strings; zod would otherwise probe for it.
z.config({ jitless: true })

// `z.custom` types where a brand is wanted; the check before it is the one that decides.
export const digestField: z.ZodType<Digest> = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'is not a SHA-256 digest in lower-case hexadecimal')
  .transform((text) => text as Digest) as unknown as z.ZodType<Digest>

export const keyIdField: z.ZodType<KeyId> = z
  .string()
  .regex(/^[A-Za-z0-9_-]{43}$/, 'is not a key id (RFC 7638 thumbprint)') as unknown as z.ZodType<KeyId>

/** Unpadded base64url of exactly `length` bytes, or of at most `lengthMax`. */
export function bytesField(length: { exactly: number } | { atMost: number }): z.ZodType<string> {
  return z.string().refine((text) => {
    try {
      const bytes = decodeBase64url(text, 'bytes')
      return 'exactly' in length ? bytes.length === length.exactly : bytes.length <= length.atMost
    } catch {
      return false
    }
  }, 'is not base64url of the right length')
}

export const signingKeyField: z.ZodType<string> = bytesField({ exactly: 32 })
export const hpkeKeyField: z.ZodType<string> = bytesField({ exactly: hpkePublicKeyLength })

/** Seconds since 1970-01-01T00:00:00Z. */
export const timeField: z.ZodType<number> = z.int().min(0).max(253_402_300_799)

/** A count from 0 that fits every counter of the formats. */
export const countField: z.ZodType<number> = z.int().min(0).max(1_000_000_000)

/** A name that people chose: 1 to 200 characters, no control characters. */
export const labelField: z.ZodType<string> = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^\p{Cc}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+$/u, 'has control characters')

/** A name that stands in paths and command lines: `a-z`, digits, `-`, `_`, `.`; 1 to 100 characters. */
export const nameField: z.ZodType<string> = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,99}$/, 'is not a plain name')

export const roleField: z.ZodType<Role> = z.enum([
  'publisher',
  'approver',
  'receiver',
  'auditor',
  'regulator',
  'broker',
])
export type Role = 'publisher' | 'approver' | 'receiver' | 'auditor' | 'regulator' | 'broker'

export const boundaryField: z.ZodType<Boundary> = z.enum(['process', 'container-group', 'vm', 'world'])
export type Boundary = 'process' | 'container-group' | 'vm' | 'world'
