import { type Demand, harming, inOrder, judged } from '../demands.ts'
import { type Checks, checkFields, orAny, texts, wrong } from '../policy-fields.ts'
import { oneOf } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
import type { VerifiedNras } from './nras.ts'
import { isAtLeast } from './policy.ts'

/** What is demanded of a verdict of NRAS beyond what every TEE is judged by. A verdict that is not good is always refused. */
export interface NrasPolicy {
  /** As the token names the hardware: `GH100 A01 GSP BROM`. */
  readonly models: readonly string[] | 'any'
  readonly minimumDriver: string | 'any'
  readonly vbiosVersions: readonly string[] | 'any'
}

const checks: { readonly [Field in keyof NrasPolicy]: Checks[string] } = {
  models: texts,
  minimumDriver: orAny((value, field) => {
    if (typeof value !== 'string' || !/^[0-9]{1,6}(?:\.[0-9]{1,6}){0,5}$/.test(value)) {
      throw wrong(field, 'numbers with dots between')
    }
  }),
  vbiosVersions: texts,
}

export function checkNrasPolicy(policy: unknown, field: string): void {
  checkFields(policy, checks, field)
}

/** Every requirement of `policy`, met or not: the service's own verdict first, then device by device. */
export function appraiseNras({ result, devices }: VerifiedNras, policy: NrasPolicy): Demand[] {
  const { contraindicated, unsafe, unrecognised, unrecognisedCode } = trustValue
  return inOrder([
    ...harming('hardware', contraindicated, [
      judged('nras-result', 'demanded', result ? 'a good verdict' : 'a bad one', () => [result, 'a good verdict']),
      ...devices.flatMap(({ name, failed }) =>
        failed.map((check) => judged('nras-result', 'demanded', 'not so', () => [false, `${name}: ${check}`])),
      ),
    ]),
    ...devices.flatMap(({ name, model, driverVersion, vbiosVersion, measurementsMatch }) => [
      ...harming('hardware', unrecognised, [
        judged('nras-chip', policy.models, `${name}: ${model}`, (list) => [list.includes(model), oneOf(list)]),
      ]),
      ...harming('executables', unsafe, [
        judged(
          'nras-driver-version',
          driverVersion === null ? 'any' : policy.minimumDriver,
          `${name}: ${driverVersion ?? 'none'}`,
          (least) => [isAtLeast(driverVersion!, least), `at least ${least}`],
        ),
        judged('nras-vbios-version', policy.vbiosVersions, `${name}: ${vbiosVersion}`, (list) => [
          list.includes(vbiosVersion),
          oneOf(list),
        ]),
      ]),
      ...harming('executables', unrecognisedCode, [
        judged('nras-measurements', 'demanded', `${name}: ${measurementsMatch ? 'equal' : 'not'}`, () => [
          measurementsMatch,
          'equal to the manifests',
        ]),
      ]),
    ]),
  ])
}
