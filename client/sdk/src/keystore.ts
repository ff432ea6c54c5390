import { encodeBase64url, Secret } from '@cella/bytes'
import {
  type CreateKeystoreOptions,
  createKeystore,
  type Keystore,
  type KeystoreOptions,
  openKeystore,
} from '@cella/keystore'
import { deriveHpkeKeyPair, ed25519PublicKey, keyIdOf, randomBytes } from '@cella/primitives'
import type { Home } from './home/home.ts'
import type { Keys, SigningKey } from './keys.ts'

/** Names in a profile's keystore. The HPKE pair is derived, so that its public half need not be kept beside it. */
const accountName = 'account'
const hpkeName = 'account-hpke'
const rootPrefix = 'organisation-root-'

/** Makes the profile's keystore with fresh keys for one account. Throws KeystoreError. */
export async function createProfileKeystore(
  home: Home,
  passphrase: Secret,
  options: CreateKeystoreOptions = {},
): Promise<Keystore> {
  return createKeystore(home.keystorePath, passphrase, {
    ...options,
    entries: options.entries ?? [
      { kind: 'signing', name: accountName, secret: randomBytes(32) },
      { kind: 'root', name: hpkeName, secret: randomBytes(32) },
    ],
  })
}

/** Opens the profile's keystore. Throws KeystoreError. */
export function openProfileKeystore(home: Home, passphrase: Secret, options: KeystoreOptions = {}): Promise<Keystore> {
  return openKeystore(home.keystorePath, passphrase, options)
}

/** Makes `count` more root keys; their public keys (Ed25519, base64url). A recovery key is one that a revision names as such. */
export async function addRootKeys(keystore: Keystore, count: number): Promise<string[]> {
  const numbers = keystore
    .list('signing')
    .filter(({ name }) => name.startsWith(rootPrefix))
    .map(({ name }) => Number(name.slice(rootPrefix.length)))
  const last = Math.max(0, ...numbers)
  const entries = Array.from({ length: count }, (_, index) => ({
    kind: 'signing' as const,
    name: `${rootPrefix}${last + index + 1}`,
    secret: randomBytes(32),
  }))
  await keystore.add(...entries)
  return entries.map(({ secret }) => encodeBase64url(ed25519PublicKey(secret)))
}

/** The keys of an open keystore in the form that a session uses. */
export async function keysOf(keystore: Keystore): Promise<Keys> {
  const ikm = keystore.get('root', hpkeName)
  const pair = await deriveHpkeKeyPair(ikm.expose())
  ikm.destroy()
  return {
    account: signingKey(keystore.get('signing', accountName)),
    hpke: { publicKey: pair.publicKey, privateKey: new Secret(pair.privateKey) },
    roots: keystore
      .list('signing')
      .filter(({ name }) => name.startsWith(rootPrefix))
      .map(({ name }) => signingKey(keystore.get('signing', name))),
  }
}

function signingKey(seed: Secret): SigningKey {
  const publicKey = ed25519PublicKey(seed.expose())
  return { keyId: keyIdOf(publicKey), publicKey, seed }
}
