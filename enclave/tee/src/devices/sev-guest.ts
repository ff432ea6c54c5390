import { ByteReader } from '@cella/bytes'
import { TeeError } from '../error.ts'
import { lookAt } from '../files.ts'
import { malformed, snpPiece, tableCertificates } from '../snp-pieces.ts'
import { type Attempt, type Probe, requireLength, type SourceDriver } from '../source.ts'
import { type Outcome, withDevice } from './device.ts'
import { errnoName, ioctlReadWrite, type NativeCalls, nativeCalls, type PinnedMemory } from './ioctl.ts'

// /dev/sev-guest: include/uapi/linux/sev-guest.h, kernel 5.19 and later.

/** msg_version (u8, padded to 8), req_data, resp_data, exitinfo2. */
const requestLength = 32
const getDerivedKey = ioctlReadWrite(0x53, 1, requestLength)
const getExtendedReport = ioctlReadWrite(0x53, 2, requestLength)

/** user_data (64), vmpl (u32), reserved (28), certs_address (u64), certs_len (u32), padding. */
const extendedRequestLength = 112
const reportResponseLength = 4000
const keyRequestLength = 32
const keyResponseLength = 64
const pageLength = 4096
const tableBytesMax = 65_536
/** SNP_GUEST_VMM_ERR_INVALID_LEN, SNP_GUEST_VMM_ERR_BUSY in the upper half of exitinfo2. */
const hostWantsMoreRoom = 1
const hostIsBusy = 2
/** GUEST_FIELD_SELECT of MSG_KEY_REQ: the key depends on the guest policy (debug) and on the measurement. */
const policyAndMeasurement = 0b1001n

export interface SevGuestOptions {
  readonly device?: string
  /** VMPL of the report, 0 to 3; 0 when absent. */
  readonly privilegeLevel?: number
  /** How the kernel is called, unless a test stands in for it. */
  readonly calls?: NativeCalls
}

/** An SNP guest by its own device: reports with the host's certificates, and the only sealing key that SNP has. */
export function sevGuestDriver(options: SevGuestOptions = {}): SourceDriver {
  const { device = '/dev/sev-guest', privilegeLevel = 0 } = options
  return {
    name: 'sev-guest',
    title: 'AMD SEV-SNP: /dev/sev-guest',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      if (!(await lookAt(device, 'rw', attempts))) {
        return { source: undefined, attempts, why: 'there is no SNP guest device that this user may use' }
      }
      const calls = options.calls ?? (await nativeCalls())
      return {
        attempts,
        source: {
          name: 'sev-guest',
          bindingLength: 64,
          async collect(binding) {
            requireLength(binding, 64)
            const own = Uint8Array.from(binding)
            const { response, table } = await withCertificates(calls, device, own, privilegeLevel)
            return [snpPiece(reportOf(response), tableCertificates(table), own)]
          },
          sealingKey: async () => keyOf(await derivedKey(calls, device, privilegeLevel)),
        },
      }
    },
  }
}

interface Answered {
  readonly response: Uint8Array
  /** GHCB certificate table; empty where the host has none. */
  readonly table: Uint8Array
}

/** SNP_GET_EXT_REPORT, with as much room for certificates as the host asks for; its table may be empty. */
async function withCertificates(
  calls: NativeCalls,
  device: string,
  binding: Uint8Array,
  privilegeLevel: number,
): Promise<Answered> {
  let room = 4 * pageLength
  for (let asked = 0; asked < 3; asked++) {
    const outcome = await withDevice<Answered | { readonly room: number }>(device, (descriptor) => {
      const [request, table] = [calls.pin(extendedRequestLength), calls.pin(room)]
      const view = fillReportRequest(request, binding, privilegeLevel)
      view.setBigUint64(96, table.address, true)
      view.setUint32(104, room, true)
      const { errno, host, response } = guestRequest(
        calls,
        descriptor,
        getExtendedReport,
        request,
        reportResponseLength,
      )
      if (errno === 0) return { value: { response, table: table.bytes.slice() } }
      if (host === hostWantsMoreRoom) return { value: { room: view.getUint32(104, true) } }
      return refusal(errno, host, 'no report')
    })
    if ('response' in outcome) return outcome
    if (outcome.room > tableBytesMax || outcome.room <= room) {
      throw new TeeError('ERR_TEE_MALFORMED', `${device}: the host asks for ${outcome.room} bytes of certificates`)
    }
    room = outcome.room
  }
  throw new TeeError('ERR_TEE_REFUSED', `${device}: the host asks for ever more room for certificates`)
}

function derivedKey(calls: NativeCalls, device: string, privilegeLevel: number): Promise<Uint8Array> {
  return withDevice<Uint8Array>(device, (descriptor) => {
    const request = calls.pin(keyRequestLength)
    const view = new DataView(request.bytes.buffer)
    // root_key_select 0: the chip's VCEK. guest_svn and tcb_version 0: any, so that an update opens what was sealed.
    view.setBigUint64(8, policyAndMeasurement, true)
    view.setUint32(16, privilegeLevel, true)
    const { errno, host, response } = guestRequest(calls, descriptor, getDerivedKey, request, keyResponseLength)
    return errno === 0 ? { value: response } : refusal(errno, host, 'no sealing key')
  })
}

function fillReportRequest(request: PinnedMemory, binding: Uint8Array, privilegeLevel: number): DataView {
  request.bytes.set(binding)
  const view = new DataView(request.bytes.buffer)
  view.setUint32(64, privilegeLevel, true)
  return view
}

function guestRequest(
  calls: NativeCalls,
  descriptor: number,
  request: bigint,
  input: PinnedMemory,
  responseLength: number,
): { errno: number; host: number; response: Uint8Array } {
  const [message, response] = [calls.pin(requestLength), calls.pin(responseLength)]
  const view = new DataView(message.bytes.buffer)
  view.setUint8(0, 1)
  view.setBigUint64(8, input.address, true)
  view.setBigUint64(16, response.address, true)
  const errno = calls.ioctl(descriptor, request, message.address)
  return { errno, host: Number(view.getBigUint64(24, true) >> 32n), response: response.bytes.slice() }
}

function refusal(errno: number, host: number, what: string): Outcome<never> {
  if (host === hostIsBusy) return { errno: 'EBUSY', why: 'the host asks to come back later' }
  return { errno: errnoName(errno), why: `the firmware gave ${what}` }
}

/** MSG_REPORT_RSP (SNP ABI table 25): status, length, 24 reserved, report. */
function reportOf(response: Uint8Array): Uint8Array {
  try {
    const reader = new ByteReader(response)
    requireStatus(reader, 'the report')
    const length = reader.uint32le('report size')
    reader.take(24, 'reserved')
    return reader.take(length, 'report').slice()
  } catch (cause) {
    if (cause instanceof TeeError) throw cause
    throw malformed('the firmware’s answer', cause)
  }
}

/** MSG_KEY_RSP (SNP ABI table 21): status, 28 reserved, key. */
function keyOf(response: Uint8Array): Uint8Array {
  const reader = new ByteReader(response)
  requireStatus(reader, 'the sealing key')
  const key = response.slice(32, 64)
  response.fill(0)
  if (key.every((byte) => byte === 0)) throw new TeeError('ERR_TEE_MALFORMED', 'the sealing key is all zeros')
  return key
}

function requireStatus(reader: ByteReader, what: string): void {
  const status = reader.uint32le('status')
  if (status !== 0) throw new TeeError('ERR_TEE_REFUSED', `the firmware refused ${what} with status ${status}`)
}
