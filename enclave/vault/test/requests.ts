import type { Digest, Json } from '@cella/bytes'
import type { Asking } from '@cella/testing/vaults'
import type { Vault } from '../src/index.ts'
import { decideRequest, releaseRequest } from '../src/requests.ts'

export interface DecideAnswer {
  readonly decisions: { document: string; salt: string; leaf: string; index: number }[]
  readonly binding: { readonly [name: string]: Json }
  readonly evidence: Json
}

export interface ReleaseAnswer {
  readonly keys: { manifest: Digest; wrapped: string }[]
  readonly released: { leaf: string; index: number }
}

/** As the HTTP server calls it: through the schema. */
export async function decide(vault: Vault, { request }: Asking): Promise<DecideAnswer> {
  return (await vault.decide(decideRequest.parse(request))) as unknown as DecideAnswer
}

export async function release(
  vault: Vault,
  { request: { contract, run, attempt } }: Asking,
  { decisions }: Pick<DecideAnswer, 'decisions'>,
): Promise<ReleaseAnswer> {
  const request = releaseRequest.parse({ contract, run, attempt, decisions })
  return (await vault.release(request)) as unknown as ReleaseAnswer
}
