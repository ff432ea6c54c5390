import { z } from 'zod'
import type { BoundaryClass } from './facts.ts'

/**
 * What `cella publish` can be told. Every member narrows: all that are given must hold together, and within a list any
 * one entry is enough. What a member left out means is said at each.
 */
export interface PolicyFlags {
  /** Organisation ids whose accounts may start a contract. Left out: not restricted. */
  readonly organisations?: readonly string[] | undefined
  /** Accounts that may start a contract. Left out: not restricted. */
  readonly accounts?: readonly string[] | undefined
  /** Roles of which the account that starts needs one. Left out: not restricted. */
  readonly roles?: readonly string[] | undefined
  /** Program digests. `any` has to be said; this or `publishers` is required. */
  readonly programs?: 'any' | readonly string[] | undefined
  /** Organisation ids whose programs may compute. With `programs`, both must hold. */
  readonly publishers?: readonly string[] | undefined
  /** Purposes that the contract may state. Left out: not restricted. */
  readonly purposes?: readonly string[] | undefined
  /**
   * SHA-256 of keys of deliverers, a statement of one of which about where the asset came from must be in force. Left out: none is needed.
   */
  readonly sources?: readonly string[] | undefined
  /** Roles in one of which the contract must name each receiver. `any` has to be said. Without any receiver flag nobody may read. */
  readonly receiverRoles?: 'any' | readonly string[] | undefined
  /** Organisation ids that each receiver must belong to. */
  readonly receiverOrganisations?: readonly string[] | undefined
  /** Accounts that each receiver must be one of. */
  readonly receiverAccounts?: readonly string[] | undefined
  /** Regions, as evidence or the owner's terms say; the operator's word doesn't count. Left out: not restricted. */
  readonly places?: readonly string[] | undefined
  /** TEE kinds. Left out: those of the owner's terms. */
  readonly tees?: readonly string[] | undefined
  /** Boundary classes. Left out: those of the owner's terms. */
  readonly boundaries?: readonly BoundaryClass[] | undefined
  /** Platform ids, lower-case hexadecimal. Left out: those of the owner's terms. */
  readonly chips?: readonly string[] | undefined
  /** Providers. Left out: those of the owner's terms. */
  readonly providers?: readonly string[] | undefined
  /** Whether a simulated TEE will do. Left out: no. A TEE in debug mode never will. */
  readonly simulated?: boolean | undefined
  /** First second of the window, Unix seconds. Left out: from the start. */
  readonly notBefore?: number | undefined
  /** Last second of the window, Unix seconds, inclusive. Left out: until the manifest ends or is revoked. */
  readonly notAfter?: number | undefined
  /** Runs in all, over every contract. Left out: not counted here. */
  readonly uses?: number | undefined
  /** Least isolation level. Left out: that of the owner's terms. */
  readonly isolation?: number | undefined
  /** Whether an output may be kept as an asset for later contracts. Left out: no. */
  readonly derive?: boolean | undefined
  /** Regulators (organisation ids) to whom the manifest's scope may be disclosed. Left out: nobody. */
  readonly regulators?: readonly string[] | undefined
  /**
   * It is the policy of a secret, which guests read and no program computes on. Beside it only `measurements`, `hostData`,
   * `tees`, `boundaries`, `chips`, `providers`, `simulated`, `notBefore`, `notAfter` and `uses` have a meaning, and any other is refused.
   */
  readonly secret?: true | undefined
  /** Launch measurements of guests, lower-case hexadecimal. Left out: those of the attestation policy. */
  readonly measurements?: readonly string[] | undefined
  /** What the launcher has to have set, lower-case hexadecimal. Left out: what the attestation policy says. */
  readonly hostData?: readonly string[] | undefined
}

const entriesMax = 128
// No control, format, private or unassigned characters, no separator but a space: what is shown is what is compared.
const word = z
  .string()
  .max(200)
  .regex(
    /^[^\p{C}\p{Z}](?:[^\p{C}\p{Z}]| (?! |$))*$/u,
    'is empty, starts or ends with a space, or has a hidden character',
  )
const digest = z.string().regex(/^[0-9a-f]{64}$/, 'is not a SHA-256 digest in lower-case hexadecimal')
const account = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'is not a key id')
const chip = z.string().regex(/^[0-9a-f]{16,128}$/, 'is not a chip id in lower-case hexadecimal')
const listOf = <T extends z.ZodType>(item: T) => z.array(item).min(1).max(entriesMax).optional()
const hex = z.string().regex(/^(?:[0-9a-f]{2}){16,64}$/, 'is not 16 to 64 bytes in lower-case hexadecimal')
const unixSeconds = z.int().min(0).max(253_402_300_799).optional()

const forContracts = [
  'organisations',
  'accounts',
  'roles',
  'programs',
  'publishers',
  'purposes',
  'sources',
  'receiverRoles',
  'receiverOrganisations',
  'receiverAccounts',
  'places',
  'isolation',
  'derive',
  'regulators',
] as const

/** Shape and bounds of `PolicyFlags`; unknown members are refused. */
export const policyFlagsSchema: z.ZodType<PolicyFlags> = z
  .strictObject({
    organisations: listOf(digest),
    accounts: listOf(account),
    roles: listOf(word),
    programs: z.union([z.literal('any'), z.array(digest).min(1).max(entriesMax)]).optional(),
    publishers: listOf(digest),
    purposes: listOf(word),
    sources: listOf(digest),
    receiverRoles: z.union([z.literal('any'), z.array(word).min(1).max(entriesMax)]).optional(),
    receiverOrganisations: listOf(digest),
    receiverAccounts: listOf(account),
    places: listOf(word),
    tees: listOf(word),
    boundaries: listOf(z.enum(['process', 'container-group', 'vm', 'world'])),
    chips: listOf(chip),
    providers: listOf(word),
    simulated: z.boolean().optional(),
    notBefore: unixSeconds,
    notAfter: unixSeconds,
    uses: z.int().min(1).max(1_000_000_000).optional(),
    isolation: z.int().min(0).max(100).optional(),
    derive: z.boolean().optional(),
    regulators: listOf(digest),
    secret: z.literal(true).optional(),
    measurements: listOf(hex),
    hostData: listOf(hex),
  })
  .superRefine((flags, context) => {
    const foreign = flags.secret ? forContracts : (['measurements', 'hostData'] as const)
    for (const name of foreign) {
      if (flags[name] === undefined) continue
      const message = flags.secret ? 'has no meaning for a secret' : 'is for secrets alone'
      context.addIssue({ code: 'custom', path: [name], message })
    }
  })
  .refine((flags) => flags.secret === true || flags.programs !== undefined || flags.publishers !== undefined, {
    path: ['programs'],
    message: 'name the programs by digest or their publishers, or say `any`',
  })
  .refine((flags) => !(flags.notBefore! > flags.notAfter!), { path: ['notAfter'], message: 'is before notBefore' })
