import { describeFaults } from './gateway-faults.js'

describeFaults('undici')
