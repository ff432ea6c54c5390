import { encodeUtf8 } from '@cella/bytes'
import { type LogPolicy, parseLogPolicy } from '@cella/log'
import type { StoredAnchors } from '@cella/verify'
import { SdkError } from '../error.ts'

/** The policy of the log with this origin. Throws ERR_LOG_UNTRUSTED where the owner named none. */
export function logPolicyFor(anchors: StoredAnchors, origin: string): LogPolicy {
  for (const { policy } of anchors.logs) {
    const parsed = parseLogPolicy(encodeUtf8(policy))
    if (parsed.logs.some(({ key }) => key.name === origin)) return parsed
  }
  throw new SdkError('ERR_LOG_UNTRUSTED', `the log ${origin} is not one whose key this profile holds`, {
    hint: 'get its policy from somebody you trust: cella org trust --log FILE, or --installation FILE of your own server',
  })
}

/** The owner's name for an organisation, or undefined for one that is not trusted. */
export function petname(anchors: StoredAnchors, id: string): string | undefined {
  return anchors.organisations.find((organisation) => organisation.id === id)?.name
}
