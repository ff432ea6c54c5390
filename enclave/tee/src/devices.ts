export { type NsmOptions, nsmDriver } from './devices/nsm.ts'
export { type SevGuestOptions, sevGuestDriver } from './devices/sev-guest.ts'
