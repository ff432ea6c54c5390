import { decodeBase64url, encodeBase64url } from '@cella/bytes'
import { type Draft, encodeDraft, type Payload, parseDraft, signingKeyField, unsignedBy } from '@cella/documents'
import { type KeyId, keyIdOf } from '@cella/primitives'
import { addRootKeys, draftRotation, gather, keysOf, signHere, submitDraft } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { readTextFile, writeNewFile } from '../files.ts'
import { collect, integerOption } from '../options.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount, formatTime, shortDigest } from '../terminal/units.ts'

/** `cella org key | rotate | sign | submit`: root and recovery keys, and what several people sign with them. */
export function addRootCommands(org: Command, cli: Cli): void {
  addKey(org, cli)
  addRotate(org, cli)
  addSign(org, cli)
  addSubmit(org, cli)
}

export interface RecoveryFlags {
  readonly recoveryKey?: readonly string[]
  readonly recoveryThreshold?: number
}

/** What `--recovery-key` and `--recovery-threshold` say; undefined where neither was given. */
export function recoveryOf({ recoveryKey, recoveryThreshold }: RecoveryFlags) {
  if (recoveryKey === undefined && recoveryThreshold === undefined) return undefined
  if (recoveryKey === undefined || recoveryThreshold === undefined || recoveryThreshold > recoveryKey.length) {
    throw new UsageError(
      '--recovery-key and --recovery-threshold belong together, the threshold at most the number of keys',
      'cella org key --create prints the public key of somebody who is to hold one',
    )
  }
  return { keys: recoveryKey.map((key) => publicKey(key, '--recovery-key')), threshold: recoveryThreshold }
}

/** Writes a draft for others to sign. */
export async function draftTo(file: string, draft: Draft, overwrite = false): Promise<Result> {
  await writeNewFile(file, `${encodeDraft(draft)}\n`, { overwrite, hint: 'choose another name' })
  const missing = unsignedBy(draft)
  return {
    data: { draft: file, missing },
    text:
      missing.length === 0
        ? `${file} is signed by all: cella org submit ${file}`
        : `${file} still has to be signed by ${missing.join(', ')}: cella org sign ${file}`,
  }
}

function addKey(org: Command, cli: Cli): void {
  const command = leaf(org, 'key', {
    summary: 'show the root and recovery keys in this keystore, or make one more',
    details:
      'The public key goes to who founds the organisation or rotates its keys. Whether it is a root key or a recovery key says the organisation’s document.',
    examples: ['cella org key', 'cella --profile notary org key --create'],
  }).option('--create', 'make one more key')
  does<{ create?: boolean }>(command, cli, async (context, _, { create }) => {
    const keystore = await context.keystore()
    if (create === true) await addRootKeys(keystore, 1)
    const held = (await keysOf(keystore)).roots.map(({ keyId, publicKey: bytes }) => ({
      key: encodeBase64url(bytes),
      id: keyId,
    }))
    const columns = ['key', 'id'].map((name) => ({ name, align: 'left' as const }))
    return {
      data: { keys: held },
      text: renderTable({ columns, rows: held.map(({ key, id }) => [key, id]) }, { ...context, width: 200 }),
    }
  })
}

interface RotateFlags extends RecoveryFlags {
  readonly newKeys?: number
  readonly rootKey?: readonly string[]
  readonly threshold?: number
  readonly by?: readonly string[]
  readonly recovery?: boolean
  readonly draft?: string
}

function addRotate(org: Command, cli: Cli): void {
  const command = leaf(org, 'rotate', {
    summary: 'replace the organisation’s root keys, signed by as many of those before as they say',
    details:
      'Members, terms and assets stay in force. With --recovery the recovery keys sign: the root keys are lost, or in the wrong hands. Where keys lie with several people, --draft writes a file that each of them signs (cella org sign) and one submits.',
    examples: [
      'cella org rotate --new-keys 1',
      'cella org rotate --root-key KEY_OF_ADA --root-key KEY_OF_BO --threshold 2 --draft rotation.draft',
      'cella org rotate --recovery --new-keys 1 --draft recovery.draft',
    ],
  })
    .option('--new-keys <count>', 'make this many new root keys in this keystore', integerOption('--new-keys', 1))
    .option('--root-key <key>', 'public key of a root key from now on, new or kept; may be repeated', collect)
    .option('--threshold <count>', 'how many of them sign from now on (default: 1)', integerOption('--threshold', 1))
    .option('--recovery-key <key>', 'public key of a recovery key from now on; may be repeated', collect)
    .option('--recovery-threshold <count>', 'how many of them sign', integerOption('--recovery-threshold', 1))
    .option('--by <id>', 'id of a key of somebody else that signs this; may be repeated', collect)
    .option('--recovery', 'the recovery keys sign it, not the root keys')
    .option('--draft <file>', 'write it for others to sign, in place of submitting it')
  does<RotateFlags>(command, cli, async (context, _, options) => {
    if (options.newKeys === undefined && options.rootKey === undefined) {
      throw new UsageError(
        'no root keys were named',
        '--new-keys 1 makes one here; --root-key KEY names one of somebody',
      )
    }
    const named = (options.rootKey ?? []).map((key) => publicKey(key, '--root-key'))
    const recovery = recoveryOf(options)
    const keystore = await context.keystore()
    const session = await context.session()
    const id = await session.organisation()
    const before = (await gather(session, { organisations: [id] })).documents.organisation(id).payload
    await context.demand(
      `Replace the ${formatCount(before.rootKeys.length, 'root key')} of ${printable(before.name)}, revision ${before.revision}?`,
    )
    const made = options.newKeys === undefined ? [] : await addRootKeys(keystore, options.newKeys)
    const draft = await draftRotation(session, {
      rootKeys: [...named, ...made],
      threshold: options.threshold ?? 1,
      recovery,
      isRecovery: options.recovery,
      by: options.by as KeyId[] | undefined,
    })
    if (options.draft !== undefined) return draftTo(options.draft, draft)
    return submitted(context, draft)
  })
}

function addSign(org: Command, cli: Cli): void {
  const command = leaf(org, 'sign <draft>', {
    summary: 'read what somebody drafted, and sign it with your keys; no network is needed',
    examples: ['cella org sign rotation.draft'],
  }).option('--show', 'only show what it says and who has signed')
  does<{ show?: boolean }>(command, cli, async (context, [file], { show }) => {
    const draft = parseDraft((await readTextFile(file!)).trimEnd())
    const text = draftText(context, draft)
    if (show === true) return { data: { payload: draft.payload, missing: unsignedBy(draft) }, text }
    context.say(text)
    const keys = await keysOf(await context.keystore())
    const signed = signHere(keys, draft)
    if (unsignedBy(signed).length === unsignedBy(draft).length) {
      throw new UsageError(
        'no key of this keystore signs it',
        `it waits for ${unsignedBy(draft).join(', ') || 'nobody'}; cella org key lists yours`,
      )
    }
    await context.demand('Sign this?')
    return draftTo(file!, signed, true)
  })
}

function addSubmit(org: Command, cli: Cli): void {
  const command = leaf(org, 'submit <draft>', {
    summary: 'submit what all have signed; what it replaces is withdrawn',
    examples: ['cella org submit rotation.draft'],
  })
  does(command, cli, async (context, [file]) => {
    const draft = parseDraft((await readTextFile(file!)).trimEnd())
    context.say(draftText(context, draft))
    await context.demand('Submit this?')
    return submitted(context, draft)
  })
}

async function submitted(context: Context, draft: Draft): Promise<Result> {
  const { document, index } = await submitDraft(await context.session(), draft)
  return {
    data: { type: document.type, digest: document.digest, index },
    text: `${document.type} ${document.digest}: log entry ${index}`,
  }
}

function draftText(context: Context, draft: Draft): string {
  const signed = [...draft.signatures.keys()]
  return renderPairs(
    [
      ...payloadPairs(draft.payload),
      ['signed by', signed.join(', ') || 'nobody yet'],
      ['waits for', unsignedBy(draft).join(', ') || 'nobody'],
    ],
    context.style,
  )
}

function payloadPairs(payload: Payload): [string, string][] {
  const common: [string, string][] = [
    ['document', payload.type],
    ['organisation', payload.organisation ?? 'a new one'],
  ]
  switch (payload.type) {
    case 'cella/organisation':
      return [
        ...common,
        ['revision', `${payload.revision} of ${printable(payload.name)}`],
        ...payload.rootKeys.map((key): [string, string] => ['root key', keyIdOf(decodeBase64url(key, 'key'))]),
        ['sign', `${payload.threshold} of ${payload.rootKeys.length}`],
        ...payload.recoveryKeys.map((key): [string, string] => ['recovery key', keyIdOf(decodeBase64url(key, 'key'))]),
        ['recover', payload.recoveryThreshold === 0 ? 'nobody' : `${payload.recoveryThreshold} of them`],
      ]
    case 'cella/membership':
      return [
        ...common,
        ['member', `${printable(payload.name)} (${payload.roles.join(', ')})`],
        ['account', keyIdOf(decodeBase64url(payload.signingKey, 'signingKey'))],
        ['in force', `${formatTime(payload.notBefore)} until ${formatTime(payload.notAfter)}`],
      ]
    case 'cella/terms':
      return [
        ...common,
        ['revision', `${payload.revision}`],
        ['vault', payload.vault.builds.map(shortDigest).join(', ')],
        ['worker', payload.worker.builds.map(shortDigest).join(', ')],
        ...(payload.attestationService === undefined
          ? []
          : [
              ['attestation service', payload.attestationService.builds.map(shortDigest).join(', ')] as [
                string,
                string,
              ],
            ]),
        ['simulated', payload.simulated ? 'accepted' : 'refused'],
        [
          'recovery',
          payload.recovery
            ? `${payload.recovery.threshold} of ${payload.recovery.accounts.join(', ')}`
            : 'nobody named',
        ],
        ['in full', JSON.stringify(payload)],
      ]
    default:
      return [...common, ['in full', JSON.stringify(payload)]]
  }
}

function publicKey(text: string, option: string): string {
  if (signingKeyField.safeParse(text).success) return text
  throw new UsageError(`${option} ${text}: is no public key`, '43 characters, as cella org key prints them')
}
