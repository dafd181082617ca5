package redqueen.bench;

import com.netflix.eureka.Jersey3EurekaBootStrap;
import com.netflix.eureka.StatusFilter;
import com.netflix.eureka.resources.EurekaServerContextBinder;
import jakarta.servlet.DispatcherType;
import java.util.EnumSet;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;
import org.glassfish.jersey.message.GZipEncoder;
import org.glassfish.jersey.server.ResourceConfig;
import org.glassfish.jersey.server.filter.EncodingFilter;
import org.glassfish.jersey.servlet.ServletContainer;

/**
 * Netflix's Eureka server in Jetty on a loopback port: {@code EurekaServer PORT}.
 *
 * <p>All its settings are their defaults (caches, self preservation, lease sweeps), except what a
 * server needs to run alone: it neither registers with nor asks a peer, and opens at once instead
 * of after the five minutes that an empty server waits. Prints "ready" when it serves.
 */
public final class EurekaServer {
    private EurekaServer() {}

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        System.setProperty("eureka.registration.enabled", "false");
        System.setProperty("eureka.shouldFetchRegistry", "false");
        System.setProperty("eureka.serviceUrl.default", "http://127.0.0.1:" + port + "/eureka/v2/");
        System.setProperty("eureka.numberRegistrySyncRetries", "0");
        System.setProperty("eureka.waitTimeInMsWhenSyncEmpty", "0");

        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(port);
        server.setConnectors(new Connector[] {connector});
        server.setHandler(application());
        server.start();
        System.out.println("ready");
        server.join();
    }

    /** What Netflix's own web.xml declares: its bootstrap, its status filter, its resources, gzip both ways. */
    private static ServletContextHandler application() {
        ResourceConfig resources = new ResourceConfig()
            .packages("com.netflix.eureka.resources", "com.netflix.discovery.provider")
            .register(new EurekaServerContextBinder());
        EncodingFilter.enableFor(resources, GZipEncoder.class);
        ServletContextHandler context = new ServletContextHandler();
        context.setContextPath("/eureka");
        context.addEventListener(new Jersey3EurekaBootStrap());
        context.addFilter(StatusFilter.class, "/*", EnumSet.of(DispatcherType.REQUEST));
        context.addServlet(new ServletHolder(new ServletContainer(resources)), "/*");
        return context;
    }
}
