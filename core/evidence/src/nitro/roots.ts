import { parseDigest } from '@cella/bytes'
import type { OtherRoot } from '../roots.ts'

// SHA-256 of the SubjectPublicKeyInfo of the roots of the Nitro Attestation PKI, one for each partition of AWS.
const roots: readonly (readonly [string, string])[] = [
  // AWS_NitroEnclaves_Root-G1.zip, SHA-256 8cf60e2b…faff7c as published in attestation_process.md §2.1 of
  // aws/aws-nitro-enclaves-nsm-api; subject CN=aws.nitro-enclaves, valid 2019-10-28 to 2049-10-28. Commercial regions.
  ['aws', 'f2caf5ecc6190b4a8399b78bc58a2bbcd0382375db8a1bfd78a82743874fd225'],
  // The certificate printed in the AWS GovCloud (US) user guide, "Amazon EC2", differences of Nitro Enclaves; subject
  // CN=aws-us-gov.nitro-enclaves, valid 2020-09-10 to 2050-09-10.
  ['aws-us-gov', '84e3c3bd8c64049f77e40a07ec988b76a55179f299b57eaefa520844dc67fae5'],
]

function rootOf(partition: string): OtherRoot {
  const spki = roots.find(([name]) => name === partition)![1]
  return Object.freeze({ tee: 'nitro', spki: parseDigest(spki, `${partition}.nitro-enclaves`), simulated: false })
}

/**
 * The root of AWS's commercial regions. Other partitions have roots of their own: `awsGovCloudNitroRoots`, and those that
 * AWS shows to its customers only (China), which a relying party names as a TrustedRoot itself.
 */
export const awsNitroRoots: readonly OtherRoot[] = Object.freeze([rootOf('aws')])

/** The root of AWS GovCloud (US). */
export const awsGovCloudNitroRoots: readonly OtherRoot[] = Object.freeze([rootOf('aws-us-gov')])
