import { Secret } from '@cella/bytes'
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

/** Makes `count` root keys for an organisation that is to be founded. */
export async function addRootKeys(keystore: Keystore, count: number): Promise<void> {
  const entries = Array.from({ length: count }, (_, index) => ({
    kind: 'signing' as const,
    name: `${rootPrefix}${index + 1}`,
    secret: randomBytes(32),
  }))
  await keystore.add(...entries.filter(({ kind, name }) => !keystore.has(kind, name)))
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
