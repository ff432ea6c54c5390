import type { WhoCanChange } from './clauses.ts'
import type { PolicyReason, PolicyReasonCode } from './decide.ts'

// The one catalogue of words about policies, for people. Programs act on codes and parameters.

/** What `expected` and `got` of each reason mean, in a sentence. */
const reasonWords: Readonly<Record<PolicyReasonCode, (expected: string, got: string, clause: string) => string>> = {
  ERR_POLICY_ORGANISATION: (expected, got) =>
    `The contract is started by organisation ${short(got)}; only ${short(expected)} may.`,
  ERR_POLICY_ACCOUNT: (expected, got) =>
    `The contract is started by account ${short(got)}; only ${short(expected)} may.`,
  ERR_POLICY_ROLE: (expected, got) => `Who starts the contract has ${roles(got)}; needed is ${roles(expected)}.`,
  ERR_POLICY_PROGRAM: (expected, got) =>
    `Program ${short(got)} may not compute on this asset; only ${short(expected)} may.`,
  ERR_POLICY_PUBLISHER: (expected, got) =>
    `The program comes from organisation ${short(got)}; only programs of ${short(expected)} may compute on this asset.`,
  ERR_POLICY_PURPOSE: (expected, got) => `The contract's stated purpose is “${got}”; accepted is “${expected}”.`,
  ERR_POLICY_SOURCE: (expected, got) =>
    `Where the asset came from is vouched for by ${got ? short(got) : 'nobody'}; needed is a statement of ${short(expected)}.`,
  ERR_POLICY_RECEIVER: (_, got) => `Account ${short(got)} would read an output; the policy names nobody who may.`,
  ERR_POLICY_RECEIVER_ROLE: (expected, got) => `A receiver is named with ${roles(got)}; needed is ${roles(expected)}.`,
  ERR_POLICY_RECEIVER_ORGANISATION: (expected, got) =>
    `A receiver belongs to organisation ${short(got)}; outputs go only to ${short(expected)}.`,
  ERR_POLICY_RECEIVER_ACCOUNT: (expected, got) =>
    `Account ${short(got)} would read an output; outputs go only to ${short(expected)}.`,
  ERR_POLICY_PLACE: (expected, got) =>
    `The machine is in ${got || 'a place that nobody vouches for'}; accepted is ${expected}, as evidence or terms say.`,
  ERR_POLICY_TEE: (expected, got) => `The worker runs in ${got || 'an unknown TEE'}; accepted is ${expected}.`,
  ERR_POLICY_BOUNDARY: (expected, got) => `The worker's boundary is ${got}; accepted is ${expected}.`,
  ERR_POLICY_CHIP: (expected, got) => `The chip is ${got ? short(got) : 'not shown'}; accepted is ${short(expected)}.`,
  ERR_POLICY_PROVIDER: (expected, got) =>
    `The machine is run by ${got || 'somebody unknown'}; accepted is ${expected}.`,
  ERR_POLICY_SIMULATED: () => 'The TEE is simulated; this policy demands real hardware.',
  ERR_POLICY_DEBUG: () => 'The TEE is in debug mode: whoever runs the machine could read everything.',
  ERR_POLICY_NOT_YET: (expected, got) => `It is ${got}; use is allowed from ${expected} on.`,
  ERR_POLICY_EXPIRED: (expected, got) => `It is ${got}; use was allowed until ${expected}.`,
  ERR_POLICY_USES: (expected, got) =>
    got === 'not counted'
      ? `Uses are not counted; at most ${expected} are allowed.`
      : `This would be use ${got} of ${expected}.`,
  ERR_POLICY_ISOLATION: (expected, got) => `The isolation level is ${got}; at least ${expected} is needed.`,
  ERR_POLICY_DERIVE: () => 'An output would be kept as an asset for later contracts; the policy does not allow it.',
  ERR_POLICY_APPROVER: (expected, got) =>
    `An approval comes from an account with role ${got ? short(got) : 'none'}; it takes role ${expected} of the asset's owner.`,
  ERR_POLICY_REGULATOR: (expected, got) =>
    `Organisation ${short(got)} asks for disclosure; the policy allows it for ${expected ? short(expected) : 'nobody'}.`,
  ERR_POLICY_MEASUREMENT: (expected, got) =>
    `The guest has measurement ${got ? short(got) : 'none'}; accepted is ${short(expected)}.`,
  ERR_POLICY_HOST_DATA: (expected, got) =>
    `The guest was launched with ${got ? short(got) : 'nothing'}; accepted is ${short(expected)}.`,
  ERR_POLICY_INVALID: (_, got) => `The policy can't be used: ${got}.`,
  ERR_POLICY_FACTS: (expected, got) =>
    `What the policy must look at is not all known: ${expected ? `${expected}: ` : ''}${got}.`,
  ERR_POLICY_NOTHING_ASKED: (expected) => `The contract names no ${expected} for this asset.`,
  ERR_POLICY_EVALUATION: (_, got, clause) => `Policy “${clause}” could not be evaluated, which denies: ${got}.`,
  ERR_POLICY_FORBIDDEN: (_, __, clause) => `Policy “${clause}”, written by hand, forbids it.`,
  ERR_POLICY_NO_PERMIT: () => 'No part of the policy permits it.',
}

const whoWords: Readonly<Record<WhoCanChange, string>> = {
  publisher: 'The asset’s publisher can change this.',
  author: 'The contract’s author can change this.',
  operator: 'The operator can change this.',
  receiver: 'The receiver’s organisation can change this.',
  approver: 'The owner’s approvers can change this.',
  regulator: 'The regulator can change this.',
  nobody: 'Nobody can change this: wait.',
}

const actionWords: Readonly<Record<Exclude<PolicyReason['action'], ''>, string>> = {
  compute: 'compute',
  readOutput: 'read an output',
  derive: 'keep an output',
  approve: 'approve',
  disclose: 'disclose',
  readSecret: 'read the secret',
}

/** `reason` as a sentence for people, and who can do something about it. */
export function reasonText(reason: PolicyReason): string {
  const sentence = reasonWords[reason.code](reason.expected, reason.got, reason.clause)
  const asked = reason.code === 'ERR_POLICY_NO_PERMIT' || reason.code === 'ERR_POLICY_FORBIDDEN'
  const action = asked && reason.action !== '' ? ` Asked: to ${actionWords[reason.action]}.` : ''
  return `${sentence}${action} ${whoWords[reason.whoCanChange]}`
}

/** Digests, key ids and chips by their first 16 characters (8 could be made to match on purpose); other words stay whole. */
function short(values: string): string {
  return values.replace(/[A-Za-z0-9_-]{33,}/g, (id) => `${id.slice(0, 16)}…`)
}

/** `a`, `a or b`, `a, b or c`. */
export function either(values: readonly string[]): string {
  const shown = values.map(short)
  return shown.length < 2 ? (shown[0] ?? '') : `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`
}

function roles(values: string): string {
  if (values === '') return 'no role'
  return values.includes(', ') ? `one of the roles ${values}` : `role ${values}`
}
