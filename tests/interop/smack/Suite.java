import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.concurrent.atomic.AtomicInteger;
import org.igniterealtime.smack.inttest.SmackIntegrationTestFramework;
import org.igniterealtime.smack.inttest.XmppConnectionDescriptor;
import org.igniterealtime.smack.inttest.XmppConnectionManager;
import org.jivesoftware.smack.tcp.XMPPTCPConnection;
import org.jivesoftware.smack.tcp.XMPPTCPConnectionConfiguration;

/** Smack's suite over its TCP connections, which are dealt out to the nodes in turn. */
final class Suite {
    private static final String[] NODES = System.getProperty("hexad.nodes").split(",");
    private static final AtomicInteger connections = new AtomicInteger();

    private static void choose_node(XMPPTCPConnectionConfiguration.Builder builder) {
        try {
            builder.setHostAddress(InetAddress.getByName(NODES[connections.getAndIncrement() % NODES.length]));
        } catch (UnknownHostException error) {
            throw new IllegalStateException(error);
        }
    }

    public static void main(String[] arguments) throws Exception {
        XmppConnectionManager.addConnectionDescriptor(
            XmppConnectionDescriptor
                .buildWith(XMPPTCPConnection.class, XMPPTCPConnectionConfiguration.class,
                           XMPPTCPConnectionConfiguration.Builder.class)
                .withNickname("tcp").applyExtraConfiguration(Suite::choose_node).build());
        SmackIntegrationTestFramework.main(arguments);
    }
}
